"""The peer of the Python row of the call benchmark: a client and a server of the `mcp` SDK, over stdio.

The client reads a word a line, measures, and prints one number: the microseconds of one call of about 200 bytes.
"""

import sys
import time

import anyio
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

CALLS = 100
TEXT = "x" * 70


def serve() -> None:
    try:
        from mcp.server.mcpserver import MCPServer as Server
    except ImportError:  # before 2.0
        from mcp.server.fastmcp import FastMCP as Server
    server = Server("echo", log_level="ERROR")

    @server.tool()
    def echo(text: str) -> str:
        return text

    server.run("stdio")


async def measure(session: ClientSession) -> float:
    begun = time.perf_counter()
    for _ in range(CALLS):
        result = await session.call_tool("echo", {"text": TEXT})
        if result.content[0].text != TEXT:
            raise RuntimeError("the answer is not what was sent")
    return (time.perf_counter() - begun) * 1e6 / CALLS


async def host() -> None:
    server = StdioServerParameters(command=sys.executable, args=[__file__, "serve"])
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        print(0, flush=True)
        while await anyio.to_thread.run_sync(sys.stdin.readline):
            print(await measure(session), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        anyio.run(host)
