#!/usr/bin/python3 -ISB
"""A plugin that takes part in an event, and counts in what its host keeps for it."""
import json
import sys


def say(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def ask(method, **params):
    """Asks the host, which says nothing else meanwhile: these tests make one call at a time."""
    say(id=1, method=method, params=params)
    return json.loads(sys.stdin.readline())["result"]


def kept():
    found = ask("load_plugin_data", key="count")
    return found["value"] if found["found"] else 0


def call(tool):
    count = kept()
    if tool == "add":
        count += 1
        ask("store_plugin_data", key="count", value=count)
    return count


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    if message["method"] == "initialize":
        say(id=message["id"], result={"protocol_version": "1"})
    elif message["method"] == "call":
        say(id=message["id"], result=call(message["params"]["tool"]))
    else:
        say(id=message["id"], result={})
