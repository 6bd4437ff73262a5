#!/usr/bin/python3 -ISB
"""A plugin that breaks the protocol in one way at a time. No SDK: it needs every byte in its own hands.

The file `mode` of the package says what is wrong with the start; the argument `how` of the tool `act` what is wrong with
a call. `good` is what an honest plugin does.
"""
import ctypes
import json
import os
import signal
import socket
import sys
import time

CAP = 4 * 1024 * 1024
MODE = open("mode", encoding="utf-8").read().strip() if os.path.exists("mode") else "good"


def raw(data):
    while data:
        data = data[os.write(1, data):]


def send(message, **options):
    raw(json.dumps(message, **options).encode() + b"\n")


def answer(ident, result):
    send({"jsonrpc": "2.0", "id": ident, "result": result})


def refuse(ident, message, code=-31008, data=None):
    send({"jsonrpc": "2.0", "id": ident, "error": {"code": code, "message": message, "data": data}})


def padded(ident, size):
    """An answer whose line has exactly `size` bytes, its end included."""
    head = b'{"jsonrpc":"2.0","id":%d,"result":"' % ident
    return head + b"x" * (size - len(head) - 3) + b'"}\n'


def flood(size):
    piece = b"x" * 65536
    for _ in range(size // len(piece)):
        raw(piece)


def wrong_line(how, ident):
    """Something that is no message. Gives whether it was known."""
    junk = {
        "noise": b"Loading model... done\n",
        "noise_no_end": b"Loading model... ",
        "json_noise": b'{"progress": 3}\n[1, 2]\nnull\n42\n"text"\n',
        "pretty": json.dumps({"jsonrpc": "2.0", "id": ident, "result": "pretty"}, indent=2).encode() + b"\n",
        "content_length": b"Content-Length: 42\r\n\r\n",
        "not_utf8": b'{"jsonrpc":"2.0","id":%d,"result":"\xff\xfe"}\n' % ident,
        "surrogate": b'{"jsonrpc":"2.0","id":%d,"result":"\\ud800"}\n' % ident,
        "utf16": json.dumps({"jsonrpc": "2.0", "id": ident, "result": 1}).encode("utf-16") + b"\n",
        "bom": b'\xef\xbb\xbf{"jsonrpc":"2.0","id":%d,"result":"bom"}\n' % ident,
        "nul": b'{"jsonrpc":"2.0","id":%d,\x00"result":"nul"}\n' % ident,
        "deep": b'{"jsonrpc":"2.0","id":%d,"result":%s%s}\n' % (ident, b"[" * 100_000, b"]" * 100_000),
        "deep_unclosed": b"[" * 100_000 + b"\n",
        "digits": b'{"jsonrpc":"2.0","id":' + b"9" * 1_000_000 + b',"result":1}\n',
        "batch": json.dumps([{"jsonrpc": "2.0", "id": ident, "result": "batch"}]).encode() + b"\n",
        "huge_batch": b"[" + b",".join([b"1"] * 100_000) + b"]\n",
        "both": b'{"jsonrpc":"2.0","id":%d,"result":1,"error":{"code":1,"message":"both"}}\n' % ident,
        "neither": b'{"jsonrpc":"2.0","id":%d}\n' % ident,
        "duplicate_member": b'{"jsonrpc":"2.0","id":%d,"result":"one","result":"two"}\n' % ident,
        "wrong_version": b'{"jsonrpc":"1.0","id":%d,"result":"old"}\n' % ident,
        "no_id": b'{"jsonrpc":"2.0","result":"nobody"}\n',
        "null_id": b'{"jsonrpc":"2.0","id":null,"result":"nobody"}\n',
        "text_id": b'{"jsonrpc":"2.0","id":"%d","result":"text"}\n' % ident,
        "float_id": b'{"jsonrpc":"2.0","id":%d.5,"result":"float"}\n' % ident,
        "big_id": b'{"jsonrpc":"2.0","id":9007199254740993,"result":"big"}\n',
        "negative_id": b'{"jsonrpc":"2.0","id":-%d,"result":"negative"}\n' % (ident + 1),
        "long_id": b'{"jsonrpc":"2.0","id":"' + b"i" * 1_000_000 + b'","result":"long"}\n',
        "other_id": b'{"jsonrpc":"2.0","id":%d,"result":"other"}\n' % (ident + 1000),
        "old_id": b'{"jsonrpc":"2.0","id":0,"result":"once more"}\n',
        "bad_error": b'{"jsonrpc":"2.0","id":%d,"error":"a text"}\n' % ident,
        "unknown_request": b'{"jsonrpc":"2.0","id":1,"method":"no_such_method"}\n',
        "control_method": b'{"jsonrpc":"2.0","id":2,"method":"\\u001b[2J\\nlog"}\n',
        "proto": b'{"jsonrpc":"2.0","__proto__":{"id":%d},"Result":"case","ID":%d}\n' % (ident, ident),
        "empty": b"\n\r\n\n",
    }
    if how not in junk:
        return False
    raw(junk[how])
    return True


def hear():
    """The next answer of the host, whatever else comes before it."""
    while True:
        message = json.loads(sys.stdin.readline())
        if "method" not in message:
            return message


def in_order(requests):
    """Asks one after another; `$stream` stands for the stream that was opened last. What has a third member is cancelled."""
    stream = None
    for number, (method, params, *cancelled) in enumerate(requests):
        params = {name: stream if value == "$stream" else value for name, value in params.items()}
        send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        if cancelled:
            time.sleep(cancelled[0])
            send({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": number}})
        said = hear()
        stream = (said.get("result") or {}).get("stream", stream)
        yield said


def junk(ident, lines):
    """Writes each line and reads what the host says to it, up to the answer of a question that follows it."""
    said = {}
    for number, how in enumerate(lines):
        known = wrong_line(how, ident)
        send({"jsonrpc": "2.0", "id": f"s{number}", "method": "load_plugin_data", "params": {"key": "k"}})
        codes = []
        while (heard := hear()).get("id") != f"s{number}":
            codes.append(heard["error"]["code"])
        said[how] = codes if known else "unknown"
    answer(ident, said)


def call(ident, arguments):
    how = arguments.get("how", "good")
    wait = bool(arguments.get("then_wait"))
    if how.startswith("only_"):
        wrong_line(how[5:], ident)  # and no answer at all
    elif wrong_line(how, ident):
        if not wait:
            answer(ident, "right")
    elif how == "junk":
        junk(ident, arguments["lines"])
    elif how == "good":
        answer(ident, arguments.get("give", "right"))
    elif how == "crlf":
        raw(b'\n\r\n{"jsonrpc":"2.0","id":%d,"result":"right"}\r\n' % ident)
    elif how == "twice":
        answer(ident, "right")
        answer(ident, "wrong")
    elif how == "size":
        raw(padded(ident, CAP + arguments["beyond"]))
    elif how == "endless_line":
        flood(100 * 1024 * 1024)
        raw(b"\n")
        answer(ident, "right")
    elif how == "line_and_wait":
        flood(100 * 1024 * 1024)
        print("flooded", file=sys.stderr, flush=True)
        time.sleep(60)
    elif how == "many_keys":
        send({"jsonrpc": "2.0", "id": ident, "result": {f"k{n}": 0 for n in range(300_000)}}, separators=(",", ":"))
    elif how == "exit0":
        os._exit(0)
    elif how == "partial":
        raw(b'{"jsonrpc":"2.0","id":%d,"result":"par' % ident)
        os._exit(0)
    elif how == "close_out":
        os.close(1)
        time.sleep(60)
    elif how == "close_in":
        os.close(0)
        time.sleep(60)
    elif how == "progress":
        end, step = time.monotonic() + 60, 0
        while time.monotonic() < end:
            step += 1
            send({"jsonrpc": "2.0", "method": "$/progress", "params": {"id": ident, "progress": step}})
            time.sleep(0.02)
    elif how == "wait":
        time.sleep(60)
    elif how == "error_huge":
        refuse(ident, "huge", data="x" * (100 * 1024 * 1024))
        refuse(ident, "right refusal")
    elif how == "error_message":
        refuse(ident, arguments["give"])
    elif how == "error_big_message":
        refuse(ident, "m" * 1_000_000)
    elif how == "log":
        send({"jsonrpc": "2.0", "method": "log", "params": {"level": "info", "message": arguments["give"]}})
        print(arguments["give"], file=sys.stderr, flush=True)
        answer(ident, "right")
    elif how == "log_config":
        print(json.dumps(CONFIG), file=sys.stderr, flush=True)
        send({"jsonrpc": "2.0", "method": "log", "params": {"level": "info", "message": json.dumps(CONFIG)}})
        answer(ident, CONFIG)
    elif how == "error_config":
        refuse(ident, "refused with " + json.dumps(CONFIG))
    elif how == "host_request":
        send({"jsonrpc": "2.0", "id": "q", "method": arguments["method"], "params": arguments.get("params", {})})
        answer(ident, hear())
    elif how == "host_requests":
        answer(ident, [one for one in in_order(arguments["requests"])])
    elif how == "open":
        try:
            with open(arguments["path"], encoding="utf-8") as file:
                answer(ident, file.read(200))
        except OSError as error:
            refuse(ident, str(error), data={"operation": "read", "object": arguments["path"]})
    elif how == "requests":
        for number in range(arguments["count"]):
            send({"jsonrpc": "2.0", "id": number, "method": "load_plugin_data", "params": {"key": "k"}})
        got = sum(1 for _ in range(arguments["count"]) if hear().get("id") is not None)
        answer(ident, got)
    else:
        answer(ident, process(how, arguments))


def process(how, arguments):
    """Acts that have nothing to do with the protocol: what a plugin does to stay alive, and what it can see."""
    if how == "posture":
        status = dict(line.split(":\t", 1) for line in open("/proc/self/status", encoding="utf-8") if ":\t" in line)
        seen = [name for name in os.listdir("/proc") if name.isdigit()]
        return {
            "uid": status["Uid"].split(), "caps": status["CapEff"].strip(), "nnp": status["NoNewPrivs"].strip(),
            "seccomp": status["Seccomp"].strip(), "hostname": socket.gethostname(), "pids": len(seen),
            "uid_map": open("/proc/self/uid_map", encoding="utf-8").read().split(),
            "environ": dict(os.environ), "fds": sorted(os.listdir("/proc/self/fd")), "cwd": os.getcwd(),
        }
    if how == "write_data":
        path = os.path.join(os.environ["RINGFENCE_DATA_DIR"], arguments["name"])
        with open(path, "w", encoding="utf-8") as file:
            file.write("mine")
        return os.path.exists(path)
    if how == "nest":
        return nest(os.environ["RINGFENCE_DATA_DIR"], arguments["chains"])
    if how == "modes":
        return modes(os.environ["RINGFENCE_DATA_DIR"], arguments["top"])
    if how == "read":
        with open(arguments["path"], encoding="utf-8") as file:
            return file.read(200)
    if how == "write":
        with open(arguments["path"], "w", encoding="utf-8") as file:
            file.write("written")
        return "written"
    if how == "plant":
        os.symlink(arguments["target"], arguments["path"])
        return "planted"
    if how == "sethostname":
        libc = ctypes.CDLL(None, use_errno=True)
        return libc.sethostname(b"owned", 5) == 0
    if how == "settime":
        try:
            time.clock_settime(time.CLOCK_REALTIME, time.time())
            return True
        except OSError:
            return False
    if how == "shm":
        libc = ctypes.CDLL(None, use_errno=True)
        return libc.shmget(arguments["key"], 0, 0) >= 0
    if how == "zombies":
        made = 0
        for _ in range(arguments["count"]):
            try:
                if os.fork() == 0:
                    os._exit(0)
            except OSError:
                break
            made += 1
        return made
    if how == "daemon":
        # Twice, so that nobody is its parent; a session of its own, so that no group reaches it; no descriptor of ours.
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                if arguments.get("deaf"):
                    for number in range(1, 65):
                        try:
                            signal.signal(number, signal.SIG_IGN)
                        except (OSError, ValueError):
                            pass
                os.closerange(0, 4096)
                time.sleep(60)
            os._exit(0)
        os.wait()
        return "left"
    if how == "forkrace":
        # Every child makes the next one and ends: whoever walks the tree is always too late.
        if os.fork() == 0:
            os.setsid()
            end = time.monotonic() + 30
            while time.monotonic() < end:
                try:
                    if os.fork() > 0:
                        os._exit(0)
                except OSError:
                    pass
        return "racing"
    if how == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready", file=sys.stderr, flush=True)
        while True:
            time.sleep(60)
    if how == "forkonterm":
        def again(*_):
            for _ in range(3):
                if os.fork() == 0:
                    time.sleep(60)
        signal.signal(signal.SIGTERM, again)
        while True:
            time.sleep(0.1)
    if how == "stopself":
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(60)
    # An answer would make a test of a misspelt act pass.
    raise LookupError("no such act: " + how)


def nest(top, chains):
    """Directories in one another, 100 for each chain, under the longest names there are. The chains are joined at last: whoever
    looks meanwhile sees nothing deep."""
    held = os.open(top, os.O_RDONLY)
    heads, ends = [], []
    for number in range(chains):
        head = f"{number:03}" + "n" * 252
        heads.append(head)
        at, name = os.dup(held), head
        for _ in range(100):
            os.mkdir(name, dir_fd=at)
            inner = os.open(name, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at, name = inner, "n" * 255
        ends.append(at)
    for number in range(chains - 1, 0, -1):
        os.rename(heads[number], "n" * 255, src_dir_fd=held, dst_dir_fd=ends[number - 1])
    return chains * 100


def modes(top, mode):
    """Directories that their owner may not list, write or enter, each with something in it; `mode` is that of the top in the end."""
    for name, inner in (("closed", 0), ("fixed", 0o500), ("listed", 0o400), ("entered", 0o100)):
        os.makedirs(f"{top}/{name}/inner")
        with open(f"{top}/{name}/inner/file", "w", encoding="utf-8") as file:
            file.write("mine")
        os.chmod(f"{top}/{name}/inner", inner)
        os.chmod(f"{top}/{name}", inner)
    os.chmod(top, mode)
    return "made"


def begin(ident, params):
    own = {"protocol_version": "1", "tools": ["act", "ok"]}
    faults = {
        "version": {"protocol_version": "2"}, "no_version": {"protocol_version": None},
        "number_version": {"protocol_version": 1}, "other_name": {"name": "someone-else"},
        "other_plugin_version": {"version": "9.9.9"}, "more_tools": {"tools": ["act", "ok", "secret_tool"]},
        "more_hooks": {"hooks": [{"event": "onRequest", "kind": "guard", "priority": 1}]},
        "tools_of_wrong_type": {"tools": "act"},
    }
    if MODE in faults:
        own.update(faults[MODE])
    if MODE == "no_version":
        del own["protocol_version"]
    if MODE == "start_error":
        return refuse(ident, "no \u001b[2J licence\n{}")
    if MODE == "start_exit":
        os._exit(0)
    if MODE == "start_silent":
        return None
    if MODE == "start_null":
        return answer(ident, None)
    if MODE == "start_twice":
        answer(ident, own)
    if MODE == "noise_first":
        raw(b"Warning: this is not a message\n" * 20)
    if MODE == "early_request":
        send({"jsonrpc": "2.0", "id": 1, "method": "get_config", "params": {}})
        got = hear()
        own["tools"] = ["act", "ok"] if "result" in got else ["no", "answer"]
    return answer(ident, own)


CONFIG = None
if MODE == "no_handshake":
    time.sleep(60)
if MODE == "exit_at_once":
    os._exit(0)
if MODE == "close_at_once":
    os.close(1)
    time.sleep(60)
for line in sys.stdin:
    received = json.loads(line)
    if "method" not in received or "id" not in received:
        continue
    method, parameters, number = received["method"], received.get("params") or {}, received["id"]
    if method == "initialize":
        CONFIG = parameters.get("config")
        begin(number, parameters)
    elif method == "call" and parameters.get("tool") == "act":
        call(number, parameters.get("arguments") or {})
    elif method == "call":
        answer(number, "ok")
    elif MODE != "ignores_shutdown":
        answer(number, None)
