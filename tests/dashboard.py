"""Whether a Grafana dashboard is one by Grafana's own types (grafana-foundation-sdk): whatever the
types do not know, a misspelt key or one in the wrong place, is lost on the way through them.

    python tests/dashboard.py deploy/grafana/portvakt.json
"""

import json
import sys

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(written, read, place=""):
    """Places of what was written and not read, or read as something else."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            if key not in read:
                yield f"{place}.{key}"
            else:
                yield from lost(value, read[key], f"{place}.{key}")
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for number, (one, other) in enumerate(zip(written, read)):
            yield from lost(one, other, f"{place}[{number}]")
    elif written != read:
        yield f"{place}: {written!r} is read as {read!r}"


def faults(written):
    plugins.register_default_plugins()
    read = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(written)))
    yield from lost(written, read)
    numbers = [panel["id"] for panel in written["panels"]]
    if len(numbers) != len(set(numbers)):
        yield "two panels have one id"
    taken = {}
    for panel in written["panels"]:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                other = taken.setdefault((x, y), panel["title"])
                if x >= 24 or other != panel["title"]:
                    yield f"`{panel['title']}` lies over `{other}` or outside"
                    return


def main():
    found = 0
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            for fault in faults(json.load(file)):
                print(f"{path}: {fault}", file=sys.stderr)
                found += 1
    if len(sys.argv) < 2 or found:
        sys.exit(1)


main()
