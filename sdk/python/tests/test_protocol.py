"""The runner against a scripted host: order, concurrency, noise, limits, endings."""

import json
import os
import subprocess
import sys
import time

from support import SRC, PluginTest

from ringfence.testing import PluginHarness

ECHO = """
import os, sys, time, threading
from ringfence import host

def echo(arguments): return arguments
def sleep(arguments):
    time.sleep(arguments["s"])
    return arguments.get("n")
def spin(arguments):
    end = time.monotonic() + arguments["s"]
    while time.monotonic() < end: pass
    return "done"
"""


class Concurrency(PluginTest):
    def test_64_blocking_calls_run_at_once_and_answer_out_of_order(self):
        plugin = self.start(ECHO)
        began = time.monotonic()
        calls = [plugin.start_call("sleep", {"s": 1.0 if n % 2 == 0 else 0.5, "n": n}) for n in range(64)]
        quick = plugin.call("echo", {"late": True})
        self.assertLess(time.monotonic() - began, 0.5)
        self.assertEqual(quick, {"late": True})
        self.assertEqual([call.result() for call in calls], list(range(64)))
        self.assertLess(time.monotonic() - began, 4.0)

    def test_a_ping_is_answered_while_functions_block_or_compute(self):
        plugin = self.start(ECHO)
        for tool in ("sleep", "spin"):
            with self.subTest(tool):
                call = plugin.start_call(tool, {"s": 0.6})
                began = time.monotonic()
                plugin.ping()
                self.assertLess(time.monotonic() - began, 0.5)
                call.result()

    def test_an_answer_does_not_wait_for_a_blocked_call_behind_it(self):
        plugin = self.start(ECHO)
        lines = [{"jsonrpc": "2.0", "id": 1000 + n, "method": "call", "params": params} for n, params in enumerate(
            [{"tool": "echo", "arguments": {}}, {"tool": "sleep", "arguments": {"s": 1.0}}])]
        began = time.monotonic()
        plugin.send_bytes("".join(json.dumps(line) + "\n" for line in lines).encode())
        while not plugin.unexpected:
            self.assertLess(time.monotonic() - began, 0.8, "the first answer waited")
            time.sleep(0.005)
        self.assertEqual(json.loads(plugin.unexpected[0])["id"], 1000)

    def test_calls_beyond_the_threads_wait_and_are_answered(self):
        plugin = self.start(ECHO)
        calls = [plugin.start_call("sleep", {"s": 0.05, "n": n}) for n in range(200)]
        self.assertEqual([call.result() for call in calls], list(range(200)))

    def test_a_plugin_that_asks_the_host_from_everywhere(self):
        plugin = self.start(ECHO + """
def ask(arguments):
    found = []
    def other(n):
        host.store_plugin_data("k%d-%d" % (arguments["n"], n), n)
        found.append(host.load_plugin_data("k%d-%d" % (arguments["n"], n)))
    threads = [threading.Thread(target=other, args=(n,)) for n in range(3)]
    for thread in threads: thread.start()
    other(3)
    for thread in threads: thread.join()
    return sorted(found)
""")
        calls = [plugin.start_call("ask", {"n": n}) for n in range(20)]
        for call in calls:
            self.assertEqual(call.result(), [0, 1, 2, 3])

    def test_after_blocking_calls_short_ones_are_quick_again(self):
        plugin = self.start(ECHO)
        for call in [plugin.start_call("sleep", {"s": 0.05}) for _ in range(8)]:
            call.result()
        for n in range(500):
            self.assertEqual(plugin.call("echo", {"n": n}), {"n": n})


    def test_initialize_may_wait_for_threads_that_ask_the_host(self):
        plugin = self.start(ECHO + """
def initialize(config):
    def other(): host.store_plugin_data("from", "a thread")
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
""")
        self.assertEqual(plugin.host.data, {"from": "a thread"})
        self.assertEqual(plugin.call("echo", {"a": 1}), {"a": 1})
        plugin.ping()


class CancelAndTime(PluginTest):
    SOURCE = ECHO + """
from ringfence import Cancelled, Timeout
def patient(arguments):
    while not host.cancelled():
        time.sleep(0.005)
    raise Cancelled("as you wish")
def asks(arguments):
    return host.load_plugin_data("never")
async def waits(arguments):
    import asyncio
    await asyncio.sleep(30)
def left(arguments):
    return host.deadline_left()
def steps(arguments):
    for n in range(3): host.progress(n, 3, "step")
    return "ok"
def ignores(arguments):
    time.sleep(0.3)
    return "result"
"""

    def slow_host(self):
        return self.start(self.SOURCE, answers={"load_plugin_data": lambda params: None})

    def test_cancel_reaches_a_function_that_looks(self):
        plugin = self.start(self.SOURCE)
        call = plugin.start_call("patient")
        time.sleep(0.05)
        call.cancel()
        self.assertEqual(self.failure(call.result, 2).code, "cancelled")

    def test_cancel_ends_a_wait_for_the_host_and_a_coroutine(self):
        plugin = self.slow_host()
        for tool in ("asks", "waits"):
            with self.subTest(tool):
                call = plugin.start_call(tool)
                time.sleep(0.05)
                call.cancel()
                self.assertEqual(self.failure(call.result, 2).code, "cancelled")
        self.assertEqual(plugin.call("echo", {"a": 1}), {"a": 1})
        self.assertEqual(len(plugin.host.cancelled), 1)

    def test_a_function_that_ignores_cancel_answers_with_its_result(self):
        plugin = self.start(self.SOURCE)
        call = plugin.start_call("ignores")
        time.sleep(0.05)
        call.cancel()
        self.assertEqual(call.result(), "result")

    def test_a_call_that_did_not_begin_is_cancelled_at_once(self):
        plugin = self.start(ECHO)
        # One write, so that the cancel is read before any of the calls runs.
        call = {"jsonrpc": "2.0", "id": 501, "method": "call", "params": {"tool": "sleep", "arguments": {"s": 5}}}
        cancel = {"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": 501}}
        plugin.send_bytes((json.dumps(call) + "\n" + json.dumps(cancel) + "\n").encode())
        plugin.ping()
        self.assertEqual(json.loads(plugin.unexpected[0])["error"]["code"], -31002)

    def test_cancels_of_nothing_are_ignored(self):
        plugin = self.start(ECHO)
        for id in (12345, "x", None, 1.5, [1], {}):
            plugin.notify("$/cancel", {"id": id})
        plugin.notify("$/unknown", {})
        self.assertEqual(plugin.call("echo", {}), {})

    def test_a_deadline_is_seen_and_ends_a_wait_for_the_host(self):
        plugin = self.slow_host()
        left = plugin.call("left", timeout_s=5)
        self.assertTrue(4 < left <= 5, left)
        began = time.monotonic()
        call = plugin.begin("call", {"tool": "asks", "arguments": {}}, deadline_ms=200)
        self.assertEqual(self.failure(call.result).code, "timeout")
        self.assertLess(time.monotonic() - began, 2)

    def test_late_and_unknown_answers_are_dropped(self):
        plugin = self.start(ECHO)
        for answer in ({"id": 1, "result": 1}, {"id": "x", "result": 1}, {"id": None, "error": {}}, {"result": 1}, {"id": [1]}):
            plugin.send(dict(answer, jsonrpc="2.0"))
        self.assertEqual(plugin.call("echo", {"a": 1}), {"a": 1})

    def test_progress_comes_with_the_id_of_the_call(self):
        plugin = self.start(self.SOURCE)
        call = plugin.start_call("steps")
        self.assertEqual(call.result(), "ok")
        self.assertEqual([one["progress"] for one in call.progress], [0, 1, 2])
        self.assertEqual(call.progress[0], {"id": call.id, "progress": 0, "total": 3, "message": "step"})


class Failures(PluginTest):
    SOURCE = ECHO + """
import sys
from ringfence import PluginError, PermissionDenied
class Odd(Exception):
    def __str__(self): raise RuntimeError("no text")
def raises(arguments):
    name = arguments["name"]
    if name == "value": raise ValueError("bad")
    if name == "exit": sys.exit(4)
    if name == "interrupt": raise KeyboardInterrupt()
    if name == "odd": raise Odd()
    if name == "own": raise PluginError("mine", code=42, data={"x": 1})
    if name == "recursion": return raises_deep()
    if name == "long": raise ValueError("x" * 100000)
    if name == "surrogate": raise ValueError("\\ud800")
def raises_deep(): return raises_deep()
def results(arguments):
    name = arguments["name"]
    if name == "set": return {1}
    if name == "nan": return float("nan")
    if name == "surrogate": return "\\ud800"
    if name == "bytes": return b"x"
    if name == "generator": return (n for n in ())
    value = []
    if name == "circle": value.append(value)
    for _ in range(arguments.get("deep", 0)): value = [value]
    return value
def big(arguments): return "x" * arguments["n"]
def file(arguments):
    how, path = arguments["how"], arguments["path"]
    if how == "read": return open(path).read()
    if how == "write": open(path, "w").close()
    if how == "delete": __import__("os").remove(path)
    if how == "mkdir": __import__("pathlib").Path(path).mkdir()
    if how == "list": return __import__("os").listdir(path)
"""

    def setUp(self):
        super().setUp()
        self.plugin = self.start(self.SOURCE)

    def test_exceptions_are_errors_of_one_call(self):
        for name, kind, text in (("value", "ValueError", "ValueError: bad"), ("exit", "SystemExit", "exit(4)"),
                                 ("interrupt", "KeyboardInterrupt", "KeyboardInterrupt"), ("odd", "Odd", "Odd"),
                                 ("recursion", "RecursionError", "recursion"), ("surrogate", "ValueError", "ValueError")):
            with self.subTest(name):
                error = self.failure(self.plugin.call, "raises", {"name": name})
                self.assertEqual((error.number, error.code, error.data["type"]), (-31008, "plugin_failed", kind))
                self.assertIn(text, error.message)
                self.assertEqual(self.plugin.call("echo", {"a": 1}), {"a": 1})
        self.assertIn("Traceback", self.plugin.stderr)
        self.assertNotIn("_engine.py", self.plugin.stderr)
        self.assertLess(len(self.failure(self.plugin.call, "raises", {"name": "long"}).message), 5000)

    def test_an_error_of_the_plugins_own(self):
        error = self.failure(self.plugin.call, "raises", {"name": "own"})
        self.assertEqual((error.number, error.message, error.data["data"]), (42, "mine", {"x": 1}))

    def test_results_that_are_no_json(self):
        for name in ("set", "nan", "surrogate", "bytes", "generator", "circle"):
            with self.subTest(name):
                error = self.failure(self.plugin.call, "results", {"name": name})
                self.assertEqual(error.number, -31008)
                self.assertIn("not JSON", error.message)
        self.assertEqual(self.plugin.call("results", {"name": "list"}), [])

    def test_depth_of_results(self):
        self.plugin.call("results", {"name": "list", "deep": 61})
        for deep in (64, 500, 100000):
            with self.subTest(deep):
                error = self.failure(self.plugin.call, "results", {"name": "list", "deep": deep})
                self.assertEqual(error.number, -31008)

    def test_results_up_to_the_limit_of_a_line(self):
        limit = 4 * 1024 * 1024
        self.assertEqual(len(self.plugin.call("big", {"n": limit - 400})), limit - 400)
        self.assertEqual(self.failure(self.plugin.call, "big", {"n": limit}).code, "too_large")
        self.assertEqual(self.plugin.call("echo", {"a": 1}), {"a": 1})

    def test_file_errors_say_what_was_tried_on_which_file(self):
        path = os.path.join(self.folder, "no", "file")
        for how, operation in (("read", "read"), ("write", "write"), ("delete", "delete"), ("mkdir", "write"), ("list", "read")):
            with self.subTest(how):
                data = self.failure(self.plugin.call, "file", {"how": how, "path": path}).data
                self.assertEqual((data["operation"], data["object"]), (operation, path))


class Lines(PluginTest):
    def setUp(self):
        super().setUp()
        self.plugin = self.start(ECHO)

    def refused(self, line):
        before = len(self.plugin.unexpected)
        self.plugin.send_bytes(line)
        self.plugin.ping()
        return [json.loads(one)["error"]["code"] for one in self.plugin.unexpected[before:]]

    def test_lines_that_are_no_messages(self):
        for line in (b"{bad\n", b"\xff\xfe\n", b"nul\x00l\n", b"{} {}\n", b'{"a":NaN}\n', b"Content-Length: 5\n",
                     b"[" * 100000 + b"\n", b'"\x01"\n', b'{"id":1' + b"0" * 5000 + b"}x\n"):
            with self.subTest(line[:20]):
                self.assertEqual(self.refused(line), [-32700])

    def test_json_that_is_no_request(self):
        for line in (b"1\n", b"[]\n", b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]\n', b'{"id":1.5,"method":"ping"}\n',
                     b'{"id":true,"method":"ping"}\n', b'{"id":900,"method":7}\n', b'{"id":901,"method":"call","params":[]}\n'):
            with self.subTest(line):
                self.assertEqual(self.refused(line), [-32600])

    def test_empty_lines_and_carriage_returns_are_tolerated(self):
        self.assertEqual(self.refused(b"\n\r\n  \n"), [])
        self.plugin.send_bytes(b'{"jsonrpc":"2.0","id":902,"method":"ping"}\r\n')
        self.plugin.ping()
        self.assertEqual(json.loads(self.plugin.unexpected[-1])["id"], 902)

    def test_a_line_of_the_limit_and_one_beyond(self):
        def call(size):
            head = b'{"jsonrpc":"2.0","id":903,"method":"ping","params":{"x":"'
            return head + b"x" * (size - len(head) - 4) + b'"}}\n'

        limit = 4 * 1024 * 1024
        self.assertEqual(len(call(limit)), limit)
        self.plugin.send_bytes(call(limit))
        self.plugin.ping()
        self.assertIn("result", json.loads(self.plugin.unexpected[-1]))
        self.assertEqual(self.refused(call(limit + 1)), [-31005])
        self.assertEqual(self.refused(b"y" * (3 * limit) + b"\n"), [-31005])
        self.assertEqual(self.plugin.call("echo", {"a": 1}), {"a": 1})

    def test_unicode_and_odd_names_come_back_as_they_went(self):
        value = {"é😀\u2028": ["\u0000\t\"\\", "日本語", {"__proto__": 1, "": None}], "n": [0, -1, 1e100, 2 ** 70, 1.5]}
        self.assertEqual(self.plugin.call("echo", value), value)

    def test_an_id_that_is_still_running_is_refused(self):
        line = b'{"jsonrpc":"2.0","id":904,"method":"call","params":{"tool":"sleep","arguments":{"s":0.2}}}\n'
        self.assertEqual(self.refused(line + line), [-32600])

    def test_text_ids_and_unknown_methods(self):
        self.plugin.send_bytes(b'{"jsonrpc":"2.0","id":"a","method":"nope"}\n')
        self.plugin.ping()
        answer = json.loads(self.plugin.unexpected[-1])
        self.assertEqual((answer["id"], answer["error"]["code"]), ("a", -32601))

    def test_every_answer_has_the_correlation_id_of_its_call(self):
        line = b'{"jsonrpc":"2.0","id":905,"method":"ping","_meta":{"correlation_id":"c-1"}}\n'
        self.plugin.send_bytes(line)
        self.plugin.ping()
        meta = {"protocol_version": "1", "correlation_id": "c-1"}
        self.assertEqual(json.loads(self.plugin.unexpected[-1])["_meta"], meta)


class Noise(PluginTest):
    def test_nothing_printed_breaks_the_protocol(self):
        plugin = self.start("""
            import os, sys, subprocess
            print("noise on import")
            os.write(1, b"raw noise on import\\n")
            def noise(arguments):
                import ctypes
                print("from print")
                sys.stdout.write("no newline")
                sys.stdout.flush()
                os.write(1, b"from write\\n")
                libc = ctypes.CDLL(None)
                libc.puts(b"from puts")
                libc.fflush(None)
                subprocess.run(["/bin/echo", "from a child"], check=True)
                return [sys.stdin.read(), os.read(0, 10).decode()]
            def closes(arguments):
                os.close(1)
                os.close(0)
                sys.stdout.close()
                os.closerange(3, 20)
                return "still here"
            def after(arguments):
                os.write(2, b"after all that")
                return "answered"
        """, grants=["subprocess:execute"])
        self.assertEqual(plugin.call("noise"), ["", ""])
        self.assertEqual(plugin.call("closes"), "still here")
        # The protocol lies elsewhere: it is as it was, and nothing that was printed has come through it.
        self.assertEqual(plugin.call("after"), "answered")
        self.assertEqual(plugin.unexpected, [])
        for text in ("noise on import", "raw noise", "from print", "no newline", "from write", "from puts", "from a child", "after all that"):
            self.assertIn(text, plugin.stderr)

    def test_a_flood_on_the_log_and_of_log_messages(self):
        plugin = self.start("""
            import sys
            from ringfence import host
            def flood(arguments):
                for n in range(20000):
                    sys.stderr.write("x" * 200 + "\\n")
                    if n % 10 == 0: host.log("debug", "line", n=n)
                return "done"
        """)
        call = plugin.start_call("flood")
        plugin.ping(10)
        self.assertEqual(call.result(), "done")
        self.assertEqual(len(plugin.host.log), 2000)
        self.assertGreater(len(plugin.stderr), 4_000_000)

    def test_children_do_not_hold_the_protocol(self):
        plugin = self.start("""
            import os, subprocess
            def fds(arguments):
                out = subprocess.run(["/bin/ls", "/proc/self/fd"], stdout=subprocess.PIPE, check=True).stdout
                return sorted(map(int, out.split()))
        """, grants=["subprocess:execute"])
        self.assertLessEqual(max(plugin.call("fds")), 4)


class Forks(PluginTest):
    def test_a_forked_child_cannot_speak_for_the_plugin(self):
        plugin = self.start("""
            import multiprocessing, os
            from ringfence import HostError, host
            def forks(arguments):
                pid = os.fork()
                if pid == 0:
                    return "child"
                os.waitpid(pid, 0)
                return "parent"
            def asks(queue):
                try:
                    host.load_plugin_data("k")
                except HostError as error:
                    queue.put(error.code)
            def pool(arguments):
                context = multiprocessing.get_context("fork")
                queue = context.Queue()
                child = context.Process(target=asks, args=(queue,))
                child.start()
                word = queue.get(timeout=10)
                child.join()
                return word
            def closes(arguments):
                os.closerange(3, 4096)
        """, grants=["subprocess:execute"])
        for _ in range(3):
            self.assertEqual(plugin.call("forks"), "parent")
        self.assertEqual(plugin.call("pool"), "not_ready")
        self.assertEqual(plugin.unexpected, [])
        # Whoever closes all descriptors ends the plugin; it does not hang.
        self.failure(plugin.call, "closes", timeout_s=5)
        plugin.wait(3)


class Endings(PluginTest):
    def test_the_end_of_input_ends_an_idle_plugin_after_its_shutdown(self):
        plugin = self.start("""
            import atexit, os
            from ringfence import host
            def shutdown(): open(os.path.join(host.data_dir, "..", "stopped"), "w").close()
            atexit.register(lambda: print("at exit"))
        """)
        scratch = os.path.dirname(plugin.host.data_dir)
        began = time.monotonic()
        plugin.close_input()
        self.assertEqual(plugin.wait(5), 0)
        self.assertLess(time.monotonic() - began, 1.0)
        self.assertTrue(os.path.exists(os.path.join(scratch, "stopped")))

    def test_the_end_of_input_ends_within_2_s_whatever_runs(self):
        plugin = self.start(ECHO + """
threading.Thread(target=time.sleep, args=(60,)).start()
def shutdown(): time.sleep(60)
""")
        for n in range(5):
            plugin.start_call("sleep", {"s": 60})
        time.sleep(0.1)
        began = time.monotonic()
        plugin.close_input()
        self.assertEqual(plugin.wait(5), 0)
        self.assertLess(time.monotonic() - began, 2.0)

    def test_shutdown_is_answered_while_calls_run_and_later_calls_may_still_answer(self):
        plugin = self.start(ECHO)
        call = plugin.start_call("sleep", {"s": 0.5, "n": 7})
        began = time.monotonic()
        self.assertIsNone(plugin.begin("shutdown", {}).result())
        self.assertLess(time.monotonic() - began, 0.4)
        self.assertEqual(call.result(), 7)

    def test_shutdown_is_answered_although_all_threads_are_busy(self):
        plugin = self.start(ECHO)
        for n in range(100):
            plugin.start_call("sleep", {"s": 20})
        time.sleep(0.3)
        self.assertIsNone(plugin.begin("shutdown", {}).result(3))

    def test_a_host_that_is_gone_ends_the_plugin(self):
        package = self.package(ECHO + "def flood(a):\n    while True: host.log('info', 'x' * 1000)\n")
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", os.path.join(SRC, "ringfence_runner.py"), package, "plugin.py"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for message in ({"id": 0, "method": "initialize", "params": {}}, {"id": 1, "method": "call", "params": {"tool": "flood"}}):
            process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        try:
            # It has started and floods; without that, its end would say nothing.
            self.assertIn("result", json.loads(process.stdout.readline()))
            self.assertEqual(json.loads(process.stdout.readline())["method"], "log")
            self.assertIsNone(process.poll())
            process.stdout.close()
            process.wait(5)
        finally:
            process.kill()
            process.stdin.close()


class Start(PluginTest):
    def test_the_runner_loads_little(self):
        package = self.package("import sys\ndef modules(a): return sorted(sys.modules)")
        with PluginHarness(package, confine=False) as plugin:
            loaded = set(plugin.call("modules"))
        dear = {"json", "re", "typing", "threading", "asyncio", "inspect", "os", "enum", "collections", "traceback", "select"}
        self.assertIn("sys", loaded)
        self.assertEqual(loaded & dear, set())

    def test_byte_code_for_this_interpreter_is_used(self):
        import base64
        import shutil

        runner = os.path.join(self.folder, "runner")
        shutil.copytree(SRC, runner, ignore=shutil.ignore_patterns("__pycache__"))
        command = [sys.executable, "-I", "-S", "-B", os.path.join(runner, "ringfence_runner.py")]
        printed = json.loads(subprocess.run(command + ["--compile"], stdout=subprocess.PIPE, check=True).stdout)
        self.assertEqual(printed["tag"], sys.implementation.cache_tag)
        for name, content in printed["files"].items():
            path = os.path.join(runner, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as opened:
                opened.write(base64.b64decode(content))
        done = subprocess.run(command[:1] + ["-v"] + command[1:] + ["--describe", self.package("x = 1"), "plugin.py"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
        self.assertIn(b"_plugin.%s.pyc matches" % sys.implementation.cache_tag.encode(), done.stderr)
        self.assertIn("class_found", json.loads(done.stdout))
