"""Answers a prompt that was asked before without asking the server. Kept in the plugin's own store, over restarts."""
import hashlib
import json
import time

from ringfence import host

TTL_S = 3600


def initialize(config):
    global TTL_S
    TTL_S = config.get("ttl_s", 3600)


config_changed = initialize


def onRequest(ctx):
    body = ctx.body
    if not isinstance(body, dict) or "messages" not in body or body.get("stream"):
        return None
    text = json.dumps([ctx.metadata.get("path"), body], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()
    known = host.load_plugin_data(key)
    metadata = dict(ctx.metadata, cache_key=key)
    if known is not None and known["until"] > time.time():
        metadata["respond_with"] = known["answer"]
    return {"metadata": metadata}


def onResponse(ctx):
    key = ctx.metadata.get("cache_key")
    if key is not None and ctx.metadata.get("status") == 200 and not ctx.metadata.get("from_plugin"):
        host.store_plugin_data(key, {"until": time.time() + TTL_S, "answer": ctx.body})
    return None
