"""Runs a plugin against a fake host, with each grant on or off.

    from ringfence.testing import PluginHarness, matrix

    with PluginHarness("path/of/package", grants=["event:post"], config={"target": "de"}) as plugin:
        assert plugin.call("translate", {"text": "hello"}) == {"text": "hallo"}

The plugin runs in a process of its own with the real runner, and speaks the real protocol; native plugins too. The host's
functions are answered from memory (`fake_host.FakeHost`). Without the grant, a function raises PermissionDenied in the plugin, as
under the real host. A Python plugin's own `open`, `socket` and `subprocess` are held to the grants as well, by the interpreter: good
for tests, no sandbox. For other runtimes only the host's functions are; `ringfence dev` confines those.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .errors import HostError, from_wire
from .fake_host import FakeHost

__all__ = ["FakeHost", "PendingCall", "PluginFailed", "PluginHarness", "Case", "matrix"]

START_S = 30.0
"""How long a plugin may take to start, and by default to answer."""
RUNNER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "ringfence_runner.py")
"""The runner beside this package."""
NODE_RUNNER_VARIABLE = "RINGFENCE_NODE_RUNNER"
"""Names runner.mjs of the TypeScript SDK when it is not found beside this SDK."""


class PluginFailed(Exception):
    """The plugin answered with an error. `number` is the JSON-RPC one, `code` the stable word, if there is one."""

    def __init__(self, error: Any) -> None:
        known: HostError = from_wire(error)
        super().__init__(known.message)
        self.number, self.code, self.data, self.message = known.number, known.code, known.data, known.message
        self.error = error


class Case(NamedTuple):
    """One line of a matrix: what is granted, and what is missing; `off` is None when nothing is, "all" when all is."""

    grants: List[str]
    off: Optional[str]


def matrix(grants: Sequence[str]) -> Iterator[Case]:
    """All grants on; then each one off; then, if there are several, all off.

        for case in matrix(["file:read=/srv/notes/**", "event:post"]):
            with self.subTest(off=case.off), PluginHarness(PACKAGE, grants=case.grants) as plugin:
                ...
    """
    yield Case(list(grants), None)
    for one in grants:
        yield Case([other for other in grants if other != one], one)
    if len(grants) > 1:
        yield Case([], "all")


class PendingCall:
    """A request that the plugin has not answered yet."""

    def __init__(self, harness: "PluginHarness", number: int) -> None:
        self.id = number
        self.progress: List[Dict[str, Any]] = []
        self._harness = harness
        self._answer: "queue.Queue[Dict[str, Any]]" = queue.Queue()

    def settle(self, message: Dict[str, Any]) -> None:
        self._answer.put(message)

    def result(self, timeout_s: float = START_S) -> Any:
        """The result. PluginFailed when the plugin answers with an error, or ends; TimeoutError when it does neither."""
        try:
            message = self._answer.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError("no answer within %s s; log:\n%s" % (timeout_s, self._harness.stderr)) from None
        if "error" in message:
            raise PluginFailed(message["error"])
        return message.get("result")

    def cancel(self) -> None:
        """Tells the plugin that nobody waits any more."""
        self._harness.notify("$/cancel", {"id": self.id})


class PluginHarness:
    """One plugin process and its fake host. Use it as a context manager, or call `start` and `close`.

    `grants` are texts such as `file:read=/srv/notes/**`; `config` is the configuration; further keywords fill the fake
    host: `files`, `http`, `profile`, `databases`, `processes`, `data` (see `FakeHost`). The manifest is read only as far as it
    is needed to start: name, version, runtime, entry point.
    """

    def __init__(self, package_dir: str, *, grants: Sequence[str] = (), config: Optional[Mapping[str, Any]] = None,
                 interpreter: Optional[str] = None, entry_point: Optional[str] = None, types: Optional[str] = None,
                 confine: bool = True, environment: Optional[Mapping[str, str]] = None, **fakes: Any) -> None:
        self.package_dir = os.path.abspath(package_dir)
        self.manifest = read_manifest(self.package_dir)
        if entry_point is not None:
            self.manifest["entry_point"] = entry_point
        self.host = FakeHost(grants, config or {}, **fakes)
        self.host.plugin_name = str(self.manifest.get("name", ""))
        self.unexpected: List[bytes] = []
        """Lines of the plugin that were no messages, or answers to nothing."""
        self.initialized: Dict[str, Any] = {}
        """The plugin's answer to `initialize`."""
        self._interpreter, self._types, self._confine = interpreter, types, confine
        self._environment = dict(environment or {})
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._calls: Dict[int, PendingCall] = {}
        self._lock = threading.Lock()
        self._next = 0
        self._stderr = bytearray()
        self._threads: List[threading.Thread] = []
        self._scratch = ""

    # ---- life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> "PluginHarness":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> "PluginHarness":
        """Starts the process and initialises the plugin. PluginFailed when it refuses."""
        self.launch()
        try:
            self.initialized = self.begin("initialize", self.parameters()).result() or {}
            self.notify("initialized", {})
        except BaseException:
            self.close()
            raise
        return self

    def launch(self) -> None:
        """Starts the process without a word, for tests of the protocol itself."""
        self._scratch = tempfile.mkdtemp(prefix="ringfence-test-")
        self.host.data_dir = os.path.join(self._scratch, "data")
        temporary = os.path.join(self._scratch, "tmp")
        for folder in (self.host.data_dir, temporary):
            os.mkdir(folder)
        environment = {"PATH": "/usr/bin:/bin", "HOME": self.host.data_dir, "TMPDIR": temporary,
                       "RINGFENCE_PLUGIN": str(self.manifest.get("name", "")), "RINGFENCE_DATA_DIR": self.host.data_dir}
        environment.update(self._environment)
        self._process = subprocess.Popen(
            self.command(), cwd=self.package_dir, env=environment, bufsize=0, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for target in (self._read, self._read_log):
            thread = threading.Thread(target=target, daemon=True)
            thread.start()
            self._threads.append(thread)

    def command(self) -> List[str]:
        """How the plugin is started."""
        runtime, entry = self.manifest.get("runtime", "python"), str(self.manifest["entry_point"])
        if runtime == "python":
            start = [self._interpreter or sys.executable, "-I", "-S", "-B"]
            if self._confine:
                guard = os.path.join(os.path.dirname(os.path.abspath(__file__)), "testing_guard.py")
                allowed = json.dumps([self.package_dir, self._scratch, os.path.dirname(RUNNER)])
                start += [guard, allowed, json.dumps(self.host.grants)]
            start += [RUNNER, self.package_dir, entry]
            return start + (["--types", self._types] if self._types else [])
        if runtime == "node":
            return [self._interpreter or "node", _node_runner(), self.package_dir, entry]
        return [os.path.join(self.package_dir, entry)]

    def parameters(self) -> Dict[str, Any]:
        """What `initialize` tells the plugin."""
        return {
            "protocol_versions": ["1"], "host": {"name": "ringfence-testing", "version": "0.1.0"},
            "plugin": {"name": self.manifest.get("name", ""), "version": self.manifest.get("version", "")},
            "permissions": list(self.host.grants), "config": dict(self.host.config),
            "limits": {"memory_bytes": 500_000_000, "call_timeout_ms": 300_000, "message_bytes": 4 * 1024 * 1024},
            "data_dir": self.host.data_dir, "entry_point": self.manifest["entry_point"],
        }

    def close(self) -> None:
        """Ends the process in an orderly way, or after 3 s by force, and removes its private directory."""
        process = self._process
        if process is None:
            return
        if process.poll() is None and self.initialized:
            try:
                self.begin("shutdown", {}).result(2.0)
            except (PluginFailed, TimeoutError, OSError):
                pass
        self.close_input()
        try:
            process.wait(3.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join(3.0)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._process = None

    def close_input(self) -> None:
        """Ends the plugin's input."""
        if self._process is not None and self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except OSError:
                pass

    def wait(self, timeout_s: float = START_S) -> int:
        """The exit status of the process, once it has ended."""
        assert self._process is not None, "the plugin does not run"
        return self._process.wait(timeout_s)

    # ---- requests ----------------------------------------------------------------------------------------------------

    def call(self, tool: str, arguments: Optional[Mapping[str, Any]] = None, *, timeout_s: float = START_S) -> Any:
        """The result of a tool. PluginFailed when the plugin answers with an error."""
        return self.start_call(tool, arguments, timeout_s=timeout_s).result(timeout_s + 1)

    def start_call(self, tool: str, arguments: Optional[Mapping[str, Any]] = None, *,
                   timeout_s: float = START_S) -> PendingCall:
        """Calls a tool without waiting."""
        params = {"tool": tool, "arguments": dict(arguments or {})}
        return self.begin("call", params, deadline_ms=int(timeout_s * 1000))

    def hook(self, event: str, body: Any = None, metadata: Any = None, *, kind: str = "mutator") -> Any:
        """What the handler of a hook returns."""
        params = {"event": event, "kind": kind, "body": body, "metadata": {} if metadata is None else metadata}
        return self.begin("hook", params).result()

    def event(self, topic: str, payload: Any = None) -> None:
        """Sends an event and waits until the plugin has handled it."""
        self.begin("handle_event", {"topic": topic, "payload": payload}).result()

    def change_config(self, config: Mapping[str, Any]) -> None:
        """Changes the configuration and tells the plugin."""
        self.host.config = dict(config)
        self.begin("config_changed", {"config": dict(config)}).result()

    def ping(self, timeout_s: float = 5.0) -> None:
        """Fails with TimeoutError when the plugin does not answer."""
        self.begin("ping", {}).result(timeout_s)

    @property
    def stderr(self) -> str:
        """What the plugin wrote to its log."""
        return bytes(self._stderr).decode("utf-8", "replace")

    # ---- the wire ----------------------------------------------------------------------------------------------------

    def begin(self, method: str, params: Any, *, deadline_ms: int = 30_000) -> PendingCall:
        """Sends a request."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            pending = self._calls[number] = PendingCall(self, number)
        meta = {"protocol_version": "1", "correlation_id": "test-%d" % number, "deadline_ms": deadline_ms}
        try:
            self.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params, "_meta": meta})
        except OSError:
            pending.settle({"error": {"code": -32603, "message": "the plugin has ended; log:\n" + self.stderr}})
        return pending

    def notify(self, method: str, params: Any) -> None:
        """Sends a notification."""
        self.send({"jsonrpc": "2.0", "method": method, "params": params, "_meta": {"protocol_version": "1"}})

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends any message."""
        self.send_bytes(json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n")

    def send_bytes(self, data: bytes) -> None:
        """Sends anything, messages or not."""
        assert self._process is not None and self._process.stdin is not None, "the plugin does not run"
        with self._lock:
            view = memoryview(data)
            while view:
                view = view[self._process.stdin.write(view) or 0:]

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with os.fdopen(os.dup(self._process.stdout.fileno()), "rb", 65536) as stream:
            for line in stream:
                try:
                    message = json.loads(line)
                except ValueError:
                    self.unexpected.append(line)
                    continue
                self._accept(message, line)
        for pending in list(self._calls.values()):
            pending.settle({"error": {"code": -32603, "message": "the plugin has ended; log:\n" + self.stderr}})

    def _accept(self, message: Any, line: bytes) -> None:
        if not isinstance(message, dict):
            self.unexpected.append(line)
        elif "method" not in message:
            pending = self._calls.pop(message.get("id", -1), None)
            if pending is None:
                self.unexpected.append(line)
            else:
                pending.settle(message)
        elif message["method"] == "$/progress":
            params = message.get("params") or {}
            watched = self._calls.get(params.get("id", -1))
            if watched is not None:
                watched.progress.append(params)
        elif "id" not in message:
            self.host.notified(message["method"], message.get("params") or {})
        else:
            try:
                answer = self.host.answer(message["method"], message.get("params") or {})
            except Exception as error:  # a fake that the test gave
                answer = {"error": {"code": -32603, "message": "the fake host failed: %r" % error}}
            if answer is not None:
                try:
                    self.send({"jsonrpc": "2.0", "id": message["id"], **answer})
                except (OSError, ValueError):
                    return

    def _read_log(self) -> None:
        assert self._process is not None and self._process.stderr is not None
        fd = os.dup(self._process.stderr.fileno())
        try:
            while True:
                chunk = os.read(fd, 65536)
                if not chunk:
                    return
                self._stderr += chunk
        finally:
            os.close(fd)


def _node_runner() -> str:
    named = os.environ.get(NODE_RUNNER_VARIABLE)
    if named:
        return named
    found = os.path.join(os.path.dirname(RUNNER), "..", "..", "typescript", "runner.mjs")
    if not os.path.exists(found):
        raise FileNotFoundError("no runner.mjs beside this SDK; name it in " + NODE_RUNNER_VARIABLE)
    return os.path.normpath(found)


_FIELD = re.compile(r"""^["']?(name|version|runtime|entry_point|main)["']?\s*[:=]\s*["']?([^"'#]+?)["']?\s*(?:#.*)?$""")


def read_manifest(package_dir: str) -> Dict[str, Any]:
    """The manifest: all of plugin.json, of the other formats only what starts a plugin (there is no YAML in Python)."""
    for name in ("plugin.json", "plugin.yaml", "plugin.yml", "plugin.toml"):
        path = os.path.join(package_dir, name)
        if not os.path.exists(path):
            continue
        with open(path, encoding="utf-8") as opened:
            text = opened.read()
        if name == "plugin.json":
            manifest: Dict[str, Any] = json.loads(text)
        else:
            found: List[Tuple[str, str]] = []
            for line in text.splitlines():
                match = _FIELD.match(line)
                if match is not None:
                    found.append((match.group(1), match.group(2).strip()))
            manifest = dict(found)
        if "main" in manifest and "entry_point" not in manifest:
            manifest["entry_point"] = manifest["main"]
            manifest.setdefault("runtime", "node")
        return manifest
    raise FileNotFoundError("no plugin.json, plugin.yaml or plugin.toml in " + package_dir)
