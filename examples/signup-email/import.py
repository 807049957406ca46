#!/usr/bin/python3
"""Reads a CSV of sign-ups and pushes one email.send job for each, with redis-py: any Redis client will do.

    import.py SOCKET signups.csv

Prints the ids, one a line. All are pushed in one pipeline; each id printed stands for a job that is on disk.
"""
import csv
import json
import sys

import redis


def pushes(path):
    with open(path, newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), start=1):
            meta = json.dumps({"correlation_id": f"signup-{number}"})
            yield ["PUSH", "email.send", json.dumps(row, ensure_ascii=False), "TAGS", "signup", "META", meta]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    socket, path = sys.argv[1:]
    queue = redis.Redis(unix_socket_path=socket, decode_responses=True)
    pipeline = queue.pipeline(transaction=False)
    for words in pushes(path):
        pipeline.execute_command(*words)
    refused = 0
    for answer in pipeline.execute(raise_on_error=False):
        if isinstance(answer, Exception):
            refused += 1
            print(f"refused: {answer}", file=sys.stderr)
        else:
            print(answer)
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
