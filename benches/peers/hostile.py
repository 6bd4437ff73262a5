#!/usr/bin/python3
"""The neighbour of the witness benchmark: does one harmful thing for as long as it is told, then answers.

Speaks the protocol with the standard library alone, because one of the harmful things is to flood it.
"""
import json
import os
import signal
import sys
import time

PROGRESS = '{"jsonrpc":"2.0","method":"$/progress","params":{"id":%d,"progress":%d}}\n'


def hang(until, _call):
    while time.monotonic() < until:
        time.sleep(max(0, until - time.monotonic()))


def burn(until, _call):
    while time.monotonic() < until:
        sum(range(1000))


def flood_log(until, _call):
    while time.monotonic() < until:
        os.write(2, b"x" * 4000 + b"\n")


def flood_protocol(until, call):
    """With what is allowed, as fast as can be: what is not allowed would end it after 1,000 messages."""
    count = 0
    while time.monotonic() < until:
        lines = "".join(PROGRESS % (call, count + more) for more in range(50))
        count += 50
        sys.stdout.write(lines)
        sys.stdout.flush()


def fork(until, _call):
    children = []
    try:
        while time.monotonic() < until:
            try:
                child = os.fork()
            except OSError:
                time.sleep(0.001)  # at the limit
                continue
            if child == 0:
                time.sleep(60)
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
    return len(children)


ACTS = {"hang": hang, "burn": burn, "flood_log": flood_log, "flood_protocol": flood_protocol, "fork": fork}

for line in sys.stdin:
    message = json.loads(line)
    if "method" not in message or "id" not in message:
        continue
    result = None
    if message["method"] == "initialize":
        result = {"protocol_version": "1"}
    elif message["method"] == "call":
        arguments = message["params"]["arguments"]
        result = ACTS[arguments["act"]](time.monotonic() + arguments["seconds"], message["id"])
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
    sys.stdout.flush()
