#!/usr/bin/python3
"""An HTTP/1.1 server whose paths misbehave as asked. Prints "PORT n" when it listens.

http_server.py [--tls CERT KEY]
"""
import asyncio
import gzip
import json
import ssl
import sys
from urllib.parse import parse_qsl, urlsplit

from serving import serve

connections = 0
requests = 0
at_once = 0
most_at_once = 0


def reply(status, body=b"", headers=(), length=True):
    lines = [f"HTTP/1.1 {status} X"] + [f"{name}: {value}" for name, value in headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


async def answer(method, target, headers, body, connection, writer):
    """The bytes to send, or None to hang up."""
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    path = parts.path
    if path == "/echo":
        shown = {"method": method, "path": path, "query": parse_qsl(parts.query, keep_blank_values=True),
                 "headers": headers, "body": body.decode("utf-8", "replace"), "connection": connection}
        text = json.dumps(shown).encode()
        if method == "HEAD":
            return reply(200, b"", [("X-Length", len(text)), ("X-Method", "HEAD")])
        return reply(200, text, [("Content-Type", "application/json"), ("X-Method", method)])
    if path == "/status":
        extra = [("Retry-After", query["retry_after"])] if "retry_after" in query else []
        return reply(int(query["code"]), b"because", extra)
    if path == "/redirect":
        return reply(int(query.get("code", 302)), b"", [("Location", query["to"])])
    if path == "/loop":
        return reply(302, b"", [("Location", "/loop")])
    if path == "/slow":
        await asyncio.sleep(float(query["ms"]) / 1000)
        return reply(200, b"slow", [("X-Connection", connection)])
    if path == "/never":
        await asyncio.sleep(3600)
    if path == "/trickle":
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(100000):
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.05)
    if path == "/huge":  # of which only HEAD is asked
        return reply(200, b"", [("Content-Length", query["n"])], length=False)
    if path == "/bytes":
        return reply(200, b"x" * int(query["n"]))
    if path == "/chunked":
        body = b"x" * int(query["n"])
        chunks = [body[i:i + 1000] for i in range(0, len(body), 1000)]
        text = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
        return reply(200, b"", [("Transfer-Encoding", "chunked")], length=False) + text
    if path == "/gzip":
        return reply(200, gzip.compress(b"y" * int(query["n"])),
                     [("Content-Encoding", "gzip"), ("X-Accept", headers.get("accept-encoding", ""))])
    if path == "/half":
        return reply(200, b"half", [("Content-Length", "1000")], length=False) + b""
    if path == "/leave":
        return reply(200, b"bye")  # and closes, without having said so
    if path == "/headers":
        return reply(200, b"", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Mixed-Case", "yes")])
    if path == "/stats":
        return reply(200, json.dumps({"connections": connections, "requests": requests, "at_once": at_once,
                                      "most_at_once": most_at_once}).encode())
    return reply(404, b"no such path")


async def on_connection(reader, writer):
    global connections, requests, at_once, most_at_once
    connections += 1
    me = connections
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ")
            headers = {}
            for line in lines[1:]:
                if line:
                    name, value = line.split(":", 1)
                    headers[name.lower()] = value.strip()
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            requests += 1
            at_once += 1
            most_at_once = max(at_once, most_at_once)
            try:
                out = await answer(method, target, headers, body, me, writer)
            finally:
                at_once -= 1
            if out is None:
                break
            writer.write(out)
            await writer.drain()
            if target.startswith(("/half", "/leave")):
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    context = None
    if "--tls" in sys.argv:
        at = sys.argv.index("--tls")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[at + 1], sys.argv[at + 2])
    server = await asyncio.start_server(on_connection, "127.0.0.1", 0, ssl=context, backlog=2000)
    await serve(server)


asyncio.run(main())
