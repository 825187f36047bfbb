"""A collector that takes OTLP over HTTP in JSON, read by OpenTelemetry's own types: prints its port,
and then each span on a line. What the types do not know is answered with 400, and printed as a fault.
"""

import base64
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def as_protobuf_has_it(value):
    """OTLP's JSON has identifiers in hexadecimal digits, protobuf's in Base64."""
    if isinstance(value, list):
        return [as_protobuf_has_it(one) for one in value]
    if not isinstance(value, dict):
        return value
    identifiers = ("traceId", "spanId", "parentSpanId")
    return {
        key: base64.b64encode(bytes.fromhex(one)).decode()
        if key in identifiers
        else as_protobuf_has_it(one)
        for key, one in value.items()
    }


def value_of(value):
    return getattr(value, value.WhichOneof("value"))


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            assert self.path == "/v1/traces" and self.headers["content-type"] == "application/json"
            text = json.dumps(as_protobuf_has_it(json.loads(body)))
            request = json_format.Parse(text, ExportTraceServiceRequest())
        except Exception as fault:
            print(json.dumps({"fault": str(fault)}), flush=True)
            self.send_response(400)
        else:
            for resource in request.resource_spans:
                service = {one.key: value_of(one.value) for one in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self.show(service, span)
            self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def show(self, service, span):
        told = {
            "service": service["service.name"],
            "trace": span.trace_id.hex(),
            "span": span.span_id.hex(),
            "parent": span.parent_span_id.hex(),
            "name": span.name,
            "kind": span.kind,
            "start": span.start_time_unix_nano,
            "end": span.end_time_unix_nano,
            "failed": span.status.code == 2,
            "attributes": {one.key: value_of(one.value) for one in span.attributes},
        }
        print(json.dumps(told), flush=True)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Collector)
print(server.server_port, flush=True)
server.serve_forever()
