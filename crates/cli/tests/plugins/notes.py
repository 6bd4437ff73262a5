#!/usr/bin/python3 -ISB
"""A plugin that speaks the protocol by hand: one JSON-RPC message a line."""
import json
import os
import sys
import time

VERSION = "@VERSION@"
DATA = []


def answer(ident, **members):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": ident, **members}) + "\n")
    sys.stdout.flush()


def follow(path):
    """Reads the file again and again, and counts in the private directory how often it could."""
    count = 0
    while True:
        with open(path, encoding="utf-8") as file:
            file.read()
        count += 1
        with open(os.path.join(DATA[0], "beat"), "w", encoding="utf-8") as beat:
            beat.write(str(count))


def call(ident, tool, arguments):
    if tool == "echo":
        answer(ident, result=arguments)
    elif tool == "version":
        answer(ident, result=VERSION)
    elif tool == "read":
        if arguments.get("follow"):
            follow(arguments["path"])
        try:
            with open(arguments["path"], encoding="utf-8") as file:
                answer(ident, result=file.read())
        except OSError as error:
            data = {"operation": "open", "object": arguments["path"]}
            answer(ident, error={"code": -31008, "message": str(error), "data": data})
    elif tool == "fail":
        print("failing", file=sys.stderr, flush=True)
        answer(ident, error={"code": -31008, "message": "\u001b[2J no luck"})
    elif tool == "die":
        os._exit(3)
    elif tool == "pages":
        for page in range(1, 4):
            params = {"id": ident, "progress": page, "total": 4, "message": f"page {page}"}
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "method": "$/progress", "params": params}) + "\n")
            sys.stdout.flush()
            time.sleep(0.05)
        answer(ident, result=3)
    elif tool == "sleep" and "ms" in arguments:
        with open(os.path.join(DATA[0], "napping"), "w", encoding="utf-8"):
            pass
        time.sleep(arguments["ms"] / 1000)
        answer(ident, result="rested")
    elif tool == "sleep":
        print("sleeping", file=sys.stderr, flush=True)
        time.sleep(60)


if VERSION.startswith("9"):
    os._exit(4)
if VERSION.startswith("8"):
    print("hanging", file=sys.stderr, flush=True)
    time.sleep(60)
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    if message["method"] == "initialize":
        DATA.append(message["params"]["data_dir"])
        answer(message["id"], result={"protocol_version": "1"})
    elif message["method"] == "call":
        call(message["id"], message["params"]["tool"], message["params"]["arguments"])
    else:
        answer(message["id"], result={})
