#!/usr/bin/python3
"""Counts words. Speaks the protocol with nothing but the standard library."""
import json
import sys


def count(arguments):
    words = arguments.get("text", "").split()
    return {"words": len(words), "letters": sum(map(len, words))}


def answer(message):
    method, params = message["method"], message.get("params") or {}
    if method == "initialize":
        return {"result": {"protocol_version": "1", "tools": ["count"]}}
    if method == "call" and params.get("tool") == "count":
        return {"result": count(params.get("arguments") or {})}
    if method in ("ping", "shutdown", "config_changed", "handle_event"):
        return {"result": None}
    return {"error": {"code": -32601, "message": "no " + method}}


for line in sys.stdin:  # ends when the host closes our input
    message = json.loads(line)
    if "method" not in message or "id" not in message:
        continue  # a notification, or an answer to a question that we never ask
    reply = {"jsonrpc": "2.0", "id": message["id"], **answer(message)}
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()
