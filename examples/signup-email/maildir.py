#!/usr/bin/python3
"""Compares a Maildir with the CSV and prints what it found as JSON.

    maildir.py MAILDIR signups.csv

Each mail is parsed as a mail program would: one recipient, the name in the header and in both parts, one Message-ID.
"""
import collections
import csv
import email.header
import email.policy
import email.utils
import html
import json
import mailbox
import sys


def recipients(raw):
    """(name, address) of the To header. Python 3.11's own policy parser puts a space where an encoded name was folded."""
    headers = raw.decode("utf-8").partition("\n\n")[0]
    to = email.message_from_string(headers, policy=email.policy.compat32)["To"]
    for name, address in email.utils.getaddresses([to]):
        yield str(email.header.make_header(email.header.decode_header(name))), address


def problems_of(raw, message, row):
    """What is wrong with one mail; nothing, if all is well."""
    text = message.get_body(("plain",)).get_content()
    page = message.get_body(("html",)).get_content()
    if list(recipients(raw)) != [(row["name"], row["email"])]:
        yield f"To is {message['To']}"
    if row["name"] not in message["Subject"]:
        yield f"the subject is {message['Subject']}"
    if row["name"] not in text or row["email"] not in text:
        yield "the text names neither reader nor address"
    if html.escape(row["name"], quote=False) not in page and row["name"] not in html.unescape(page):
        yield "the HTML does not name the reader"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[2], newline="", encoding="utf-8") as file:
        rows = {row["email"]: row for row in csv.DictReader(file)}
    mails, ids, problems = collections.Counter(), collections.Counter(), []
    box = mailbox.Maildir(sys.argv[1])
    for key in box.keys():
        raw = box.get_bytes(key)
        message = email.message_from_bytes(raw, policy=email.policy.default)
        address = str(message["Delivered-To"])
        mails[address] += 1
        ids[message["Message-ID"]] += 1
        if address in rows:
            problems += [f"{address}: {problem}" for problem in problems_of(raw, message, rows[address])]
    print(json.dumps({
        "mails": sum(mails.values()),
        "once": sorted(address for address, count in mails.items() if count == 1),
        "more_than_once": sorted(address for address, count in mails.items() if count > 1),
        "without": sorted(set(rows) - set(mails)),
        "strangers": sorted(set(mails) - set(rows)),
        "message_ids": len(ids),
        "problems": problems,
    }))


if __name__ == "__main__":
    main()
