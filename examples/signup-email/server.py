#!/usr/bin/python3
"""The mail server of the example: takes mail for the accounts of mailboxes.txt and keeps it in a Maildir.

    server.py --port 2525 --maildir /tmp/maildir [--mailboxes mailboxes.txt]
    server.py --free-port                 prints a port that nobody uses

What it refuses, it refuses as mail servers do, with a reply code and a reason.
"""
import argparse
import asyncio
import mailbox
import pathlib
import re
import signal
import socket

from aiosmtpd.smtp import SMTP

ATOM = r"[^\s@<>()\[\]\\,;:\".]+"
DOT_ATOM = re.compile(rf"{ATOM}(\.{ATOM})*\Z")


def read_mailboxes(path):
    """address -> "open", "full" or "closed"."""
    boxes = {}
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            address, _, state = line.partition(" ")
            boxes[address.lower()] = state.strip() or "open"
    return boxes


class Accounts:
    """Decides who gets mail, and puts it into the Maildir: one file a mail and recipient."""

    def __init__(self, boxes, maildir):
        self.boxes = boxes
        self.domains = {address.rpartition("@")[2] for address in boxes}
        self.maildir = mailbox.Maildir(maildir, create=True)

    def refusal(self, address):
        local, at, domain = address.rpartition("@")
        if not at:
            return f"550 5.1.3 <{address}>: Recipient address rejected: need fully-qualified address"
        if not DOT_ATOM.match(local):
            return f"550 5.1.3 <{address}>: Bad recipient address syntax"
        if "." not in domain:
            return f"550 5.1.2 <{address}>: Recipient address rejected: Domain not found"
        if domain.lower() not in self.domains:
            return f"550 5.7.1 <{address}>: Relay access denied"
        state = self.boxes.get(address.lower())
        if state is None:
            return f"550 5.1.1 <{address}>: Recipient address rejected: User unknown in virtual mailbox table"
        if state == "full":
            return f"552 5.2.2 <{address}>: Mailbox is over quota"
        if state == "closed":
            return f"550 5.2.1 <{address}>: Mailbox disabled, not accepting messages"
        return None

    async def handle_RCPT(self, _server, _session, envelope, address, _options):
        refusal = self.refusal(address)
        if refusal:
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, _server, _session, envelope):
        for address in envelope.rcpt_tos:
            head = f"Delivered-To: {address}\r\nReturn-Path: <{envelope.mail_from}>\r\n".encode()
            key = self.maildir.add(head + envelope.content)
        return f"250 2.0.0 Ok: queued as {key.split('.')[1]}"


async def serve(args):
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    accounts = Accounts(read_mailboxes(args.mailboxes), args.maildir)
    server = await loop.create_server(
        lambda: SMTP(accounts, hostname="mail.example.org", enable_SMTPUTF8=True, loop=loop),
        host="127.0.0.1", port=args.port)
    print(f"listening on 127.0.0.1:{args.port}", flush=True)
    await ended.wait()
    server.close()
    await server.wait_closed()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=2525)
    parser.add_argument("--maildir", default="maildir")
    parser.add_argument("--mailboxes", default=str(pathlib.Path(__file__).with_name("mailboxes.txt")))
    parser.add_argument("--free-port", action="store_true")
    args = parser.parse_args()
    if args.free_port:
        print(free_port())
    else:
        asyncio.run(serve(args))


if __name__ == "__main__":
    main()
