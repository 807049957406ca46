#!/usr/bin/python3
"""A mail server with bad habits. Prints "PORT n" when it listens.

smtp_rude.py HABIT, one of: silent (no greeting), slow-data (answers the mail's end after 300 ms), hang-data (never),
drop (hangs up after each mail, without a word), busy (421 for a greeting), lines (replies of several lines),
garbage, cut (hangs up after DATA), early (refuses in the middle of the mail), mute-quit (never answers QUIT).
"""
import asyncio
import sys

from serving import serve

habit = sys.argv[1]
connections = 0


async def talk(reader, writer):
    def say(text):
        writer.write(text.encode() + b"\r\n")

    if habit == "silent":
        await asyncio.sleep(3600)
    if habit == "busy":
        say("421 4.3.2 mail.test too many connections, come back later")
        return
    say("220 mail.test ready")
    while True:
        line = await reader.readline()
        if not line:
            return
        word = line.split()[0].upper() if line.split() else b""
        if word == b"EHLO":
            say(f"250-mail.test connection {connections}\r\n250 SIZE 10000000")
        elif word == b"MAIL" and habit == "garbage":
            say("what?")
        elif word == b"RCPT" and habit == "lines":
            say("550-5.1.1 The account that you tried to reach\r\n550-5.1.1 does not exist.\r\n550 5.1.1 Goodbye")
        elif word == b"DATA":
            say("354 go on")
            if habit == "cut":
                await reader.readline()
                return
            if habit == "early":
                await reader.readline()
                say("552 5.2.3 too much")
                return
            while True:
                line = await reader.readline()
                if line in (b".\r\n", b""):
                    break
            if habit == "slow-data":
                await asyncio.sleep(0.3)
            if habit == "hang-data":
                await asyncio.sleep(3600)
            say(f"250 2.0.0 taken over connection {connections}")
            if habit == "drop":
                await writer.drain()
                return
        elif word == b"QUIT":
            if habit == "mute-quit":
                await asyncio.sleep(3600)
            say("221 bye")
            return
        else:
            say("250 fine")


async def on_connection(reader, writer):
    global connections
    connections += 1
    try:
        await talk(reader, writer)
        await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    await serve(server)


asyncio.run(main())
