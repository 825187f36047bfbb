"""A mail server for the tests: aiosmtpd, which has no line in common with what is tested.

Usage: smtp_server.py MODE CHAIN KEY, MODE being `starttls`, `tls` or `plain`. The first line on
standard output is the port; then comes one line of JSON per mail. Whoever wants to send must log
in as `portvakt` with `correct horse`, over TLS unless MODE is `plain`. Ends with its standard input.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import AuthResult, SMTP


class Handler:
    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        say(
            {
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "headers": {name.lower(): value for name, value in mail.items()},
                "text": mail.get_content(),
                "tls": server.transport.get_extra_info("ssl_object") is not None,
                "authenticated": session.authenticated,
            }
        )
        return "250 taken"


def authenticate(server, session, envelope, mechanism, auth_data):
    good = (auth_data.login, auth_data.password) == (b"portvakt", b"correct horse")
    # A refusal without a word of its own is answered with 535 by the library.
    return AuthResult(success=good, handled=False)


def say(value):
    print(json.dumps(value), flush=True)


async def main():
    mode, chain, key = sys.argv[1:]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    starttls = mode == "starttls"

    def session():
        return SMTP(
            Handler(),
            hostname="localhost",
            tls_context=context if starttls else None,
            require_starttls=starttls,
            authenticator=authenticate,
            auth_required=True,
            auth_require_tls=starttls,
        )

    loop = asyncio.get_running_loop()
    wrapper = context if mode == "tls" else None
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=wrapper)
    say(server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
