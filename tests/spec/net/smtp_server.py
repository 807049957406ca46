#!/usr/bin/python3
"""aiosmtpd with a few rules. Prints "PORT n" when it listens.

smtp_server.py DIR [--tls CERT KEY] [--require-tls] [--auth] [--no-utf8] [--size N]

Each mail becomes DIR/n.json: the envelope, the bytes, and what Python's own mail parser reads in them.
Refuses recipients with "nosuch" in them for good and with "later" for now; mails with "spam" as their subject.
"""
import asyncio
import base64
import email
import email.policy
import json
import logging
import os
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult

from serving import serve

warnings.simplefilter("ignore")  # about logins without TLS, which some tests are about
logging.getLogger("mail.log").setLevel(logging.CRITICAL)
folder = sys.argv[1]
mails = 0
connections = 0


def option(name, count):
    at = sys.argv.index(name) if name in sys.argv else None
    return None if at is None else sys.argv[at + 1:at + 1 + count]


def people(field):
    return [] if field is None else [[a.display_name, a.addr_spec] for a in field.addresses]


def as_utf8(value):
    """What is not ASCII in headers (RFC 6532) comes as lone surrogates."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, (list, tuple)):
        return [as_utf8(one) for one in value]
    if isinstance(value, dict):
        return {name: as_utf8(one) for name, one in value.items()}
    return value


def describe(envelope, session):
    raw = envelope.original_content
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    parts = []
    for part in mail.walk():
        if part.is_multipart():
            parts.append({"type": part.get_content_type(), "multipart": True})
        else:
            parts.append({"type": part.get_content_type(), "filename": part.get_filename(),
                          "encoding": part["Content-Transfer-Encoding"], "id": part["Content-ID"],
                          "disposition": part.get_content_disposition(),
                          "content": base64.b64encode(part.get_payload(decode=True)).decode(),
                          "defects": [str(d) for d in part.defects]})
    return {"from": envelope.mail_from, "to": envelope.rcpt_tos, "options": envelope.mail_options,
            "utf8": envelope.smtp_utf8, "raw": base64.b64encode(raw).decode(),
            "longest_line": max(len(line) for line in raw.split(b"\r\n")),
            "bare": raw.replace(b"\r\n", b"").count(b"\n") + raw.replace(b"\r\n", b"").count(b"\r"),
            "subject": mail["Subject"], "header_from": people(mail["From"]), "header_to": people(mail["To"]),
            "header_cc": people(mail["Cc"]), "headers": [[k, str(v)] for k, v in mail.items()],
            "message_id": mail["Message-ID"], "date": mail["Date"].datetime.isoformat(),
            "parts": parts, "tls": session.ssl is not None, "login": session.auth_data and session.auth_data.login.decode(),
            "connection": session.number, "defects": [str(d) for d in mail.defects]}


class Rules:
    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        global connections
        if not hasattr(session, "number"):
            connections += 1
            session.number = connections
        session.host_name = hostname
        return responses

    async def handle_RCPT(self, server, session, envelope, address, options):
        if "nosuch" in address:
            return f"550 5.1.1 <{address}>: no such user"
        if "later" in address:
            return f"450 4.2.1 <{address}>: try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, server, session, envelope):
        global mails
        if b"\r\nSubject: spam\r\n" in envelope.original_content:
            return "554 5.7.1 this looks like spam"
        mails += 1
        path = os.path.join(folder, f"{mails}.json")
        with open(path + ".new", "w") as out:
            json.dump(as_utf8(describe(envelope, session)), out)
        os.rename(path + ".new", path)
        return f"250 2.0.0 taken as {mails}"


def authenticate(server, session, envelope, mechanism, data):
    class Login:
        login = data.login
    if data.login == b"user" and data.password == b"secret":
        return AuthResult(success=True, auth_data=Login)
    return AuthResult(success=False, handled=False, message="535 5.7.8 wrong name or password")


async def main():
    context = None
    if "--tls" in sys.argv:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*option("--tls", 2))

    def protocol():
        return SMTP(Rules(), hostname="mail.test", enable_SMTPUTF8="--no-utf8" not in sys.argv,
                    tls_context=context, require_starttls="--require-tls" in sys.argv,
                    authenticator=authenticate, auth_required="--auth" in sys.argv,
                    auth_require_tls="--require-tls" in sys.argv,
                    data_size_limit=int(option("--size", 1)[0]) if "--size" in sys.argv else 33554432,
                    loop=asyncio.get_running_loop())
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    await serve(server)


asyncio.run(main())
