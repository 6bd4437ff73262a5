"""The `mcp` SDK from PyPI as a client of the management server: lists every tool, calls every tool, and is refused where it must be.

Arguments: the program, the package of the plugin `notes`, and how to speak: `session` (the SDK's `ClientSession`, which both
lines of the SDK have), or a mode of the `Client` of 2.x (`auto`, `legacy`, or a revision). The SDK itself checks each answer
against the output schema of its tool. The server is `ringfence mcp`, or the daemon's at MCP_URL, with the token MCP_TOKEN.
"""

import asyncio
import os
import subprocess
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

RINGFENCE, PACKAGE, MODE = sys.argv[1:4]
URL = os.environ.get("MCP_URL")
TOOLS = [
    "plugin_list", "plugin_install", "plugin_activate", "plugin_deactivate", "plugin_uninstall", "plugin_configure",
    "plugin_executions", "plugin_scan",
]


def field(value, old, new):
    """A member by its name in 1.x or in 2.x."""
    return getattr(value, new) if hasattr(value, new) else getattr(value, old)


def ringfence(*words):
    """What a person does at a terminal."""
    subprocess.run([RINGFENCE, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def call(client, tool, arguments, code=None):
    """Calls a tool; `code` is that of the refusal that must come."""
    result = await client.call_tool(tool, arguments)
    structured, is_error = field(result, "structuredContent", "structured_content"), field(result, "isError", "is_error")
    assert is_error == (code is not None), (tool, result)
    assert result.content[0].text, (tool, result)
    if code is not None:
        assert structured["error"]["code"] == code, (tool, structured)
        assert structured["error"]["hint"], (tool, structured)
    return structured


async def life(client):
    tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == TOOLS, tools
    for tool in tools:
        assert field(tool, "inputSchema", "input_schema")["additionalProperties"] is False, tool
        assert field(tool, "outputSchema", "output_schema")["type"] == "object", tool
    named = {"name": "notes"}
    assert (await call(client, "plugin_list", {}))["plugins"] == []
    assert (await call(client, "plugin_scan", {"path": PACKAGE}))["code"]["scanned"] is True
    installed = await call(client, "plugin_install", {"path": PACKAGE})
    assert installed["plugin"]["state"] == "installed" and installed["asks"], installed
    refused = await call(client, "plugin_activate", named, "consent_required")
    assert "ringfence activate notes" in refused["error"]["hint"], refused
    await call(client, "plugin_activate", {"name": "notes", "grant_requested": True}, "usage")
    ringfence("install", PACKAGE, "--grant-requested")
    assert (await call(client, "plugin_activate", named))["plugin"]["state"] == "active"
    configured = await call(client, "plugin_configure", {"name": "notes", "set": {"language": "fr", "key": "sesame"}})
    assert configured["config"] == {"language": "fr", "key": "***"}, configured
    ringfence("call", "notes", "version")
    calls = await call(client, "plugin_executions", {"limit": 1})
    assert calls["calls"][0]["tool"] == "version", calls
    assert (await call(client, "plugin_deactivate", named))["plugin"]["state"] == "inactive"
    assert (await call(client, "plugin_uninstall", named)) == {"name": "notes", "data_kept": False}
    await call(client, "plugin_uninstall", named, "not_found")


def server():
    """A transport to the server that is to be spoken to."""
    if URL is None:
        return stdio_client(StdioServerParameters(command=RINGFENCE, args=["mcp"], env=dict(os.environ)))
    from mcp.client.streamable_http import streamable_http_client

    try:
        import httpx2 as http
    except ImportError:
        import httpx as http
    headers = {"Authorization": "Bearer " + os.environ["MCP_TOKEN"]}
    return streamable_http_client(URL, http_client=http.AsyncClient(headers=headers, timeout=60))


async def main():
    if MODE == "session":
        async with server() as streams:
            async with ClientSession(*streams[:2]) as session:
                answer = await session.initialize()
                assert field(answer, "protocolVersion", "protocol_version") == "2025-11-25", answer
                await session.send_ping()
                await life(session)
        return
    from mcp import Client

    async with Client(server(), mode=MODE) as client:
        wanted = "2025-11-25" if MODE == "legacy" else "2026-07-28"
        assert client.protocol_version == wanted, client.protocol_version
        await life(client)


asyncio.run(asyncio.wait_for(main(), 300))
print("all tools answered")
