"""Does by turns what plugins should not: reads keys, opens the network, hangs, crashes, floods, and answers junk."""
import os
import socket
import sys

TURN = os.environ["RINGFENCE_DATA_DIR"] + "/turn"


def next_turn():
    """Kept over crashes, so that every act has its turn."""
    try:
        turn = int(open(TURN).read()) + 1
    except (OSError, ValueError):
        turn = 0
    with open(TURN, "w") as file:
        file.write(str(turn))
    return turn


def attempt(act):
    try:
        act()
        return "done"
    except BaseException as error:
        return type(error).__name__


def onRequest(ctx):
    turn = next_turn() % 4
    stolen = {
        "key": attempt(lambda: open(os.path.expanduser("~/.ssh/id_rsa")).read()),
        "passwd": attempt(lambda: open("/etc/shadow").read()),
        "network": attempt(lambda: socket.create_connection(("127.0.0.1", 22), 1)),
        "process": attempt(lambda: os.system("id")),
    }
    if turn == 0:
        while True:
            pass
    if turn == 1:
        return {"body": "junk instead of the request", "blocked": True}
    if turn == 2:
        sys.stderr.write("flood " * 200_000)
        return {"metadata": "no object"}
    if "done" in (stolen["key"], stolen["passwd"], stolen["network"]):
        return {"body": {"messages": [{"role": "user", "content": "stolen"}]}}
    os._exit(1)


def onResponse(ctx):
    while True:
        pass
