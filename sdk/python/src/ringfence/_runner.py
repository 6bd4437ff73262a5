"""Serves one plugin: `initialize` loads it, then each request of the host runs one of its functions."""

import posix
from _thread import allocate_lock

from ._engine import VERSION, Call, Engine
from ._plugin import Loaded, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

    from ._loop import Loop


class Session:
    """What is known of the host and the plugin in this process. `ringfence.host` reads it."""

    def __init__(self, engine: Engine, package: str, entry_point: str, types: "Optional[str]") -> None:
        self.engine = engine
        self.plugin: "Optional[Loaded]" = None
        self.parameters: "Dict[str, Any]" = {}
        self._source = (package, entry_point, types)
        self._began = False
        self._ready = False
        self._stopped = False
        self._loop: "Optional[Loop]" = None
        self._loop_lock = allocate_lock()
        self._methods: "Dict[str, Callable[[Call], None]]" = {
            "call": self._tool, "hook": self._hook, "handle_event": self._event,
            "config_changed": self._config_changed, "shutdown": self._shutdown, "initialize": self._initialize,
        }

    @property
    def ready(self) -> bool:
        """Whether `initialize` has been answered, with success."""
        return self._ready

    def handle(self, call: Call) -> None:
        """Runs what a request asks for and answers it, now or, from async code, later. Never raises."""
        try:
            method = self._methods.get(call.method)
            if method is None:
                self.engine.fail(call, -32601, "no method " + call.method[:100], {"code": "not_found"})
            elif not self._ready and call.method not in ("initialize", "shutdown"):
                self.engine.fail(call, -31009, "the plugin is not ready", {"code": "not_ready"})
            else:
                method(call)
        except BaseException as error:  # noqa: B902 - whatever a plugin raises is an error of this call only
            self.failed(call, error)

    def failed(self, call: Call, error: BaseException) -> None:
        """Answers with what an exception means; its traceback goes to the log."""
        from ._failure import report

        report(self.engine, call, error)

    def _run(self, call: Call, value: "Any", finish: "Callable[[Call, Any], None]") -> None:
        if hasattr(value, "__await__"):
            with self._loop_lock:
                if self._loop is None:
                    from ._loop import Loop

                    self._loop = Loop(self)
            self._loop.submit(call, value, finish)
        else:
            finish(call, value)

    def _answer(self, call: Call, value: "Any") -> None:
        try:
            self.engine.answer(call, value)
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            from ._failure import report_result

            report_result(self.engine, call, error)

    def _answer_null(self, call: Call, _value: "Any") -> None:
        self.engine.answer(call, None)

    # ---- one method each -------------------------------------------------------------------------------------------

    def _initialize(self, call: Call) -> None:
        if self._began:
            return self.engine.fail(call, -32600, "initialize came twice", {"code": "invalid_request"})
        self._began = True
        versions = call.params.get("protocol_versions")
        if type(versions) is list and VERSION not in versions:
            text = "this runner speaks protocol version " + VERSION + " only"
            return self.engine.fail(call, -32602, text, {"code": "invalid_params"})
        self.parameters = call.params
        limits = call.params.get("limits")
        message_bytes = limits.get("message_bytes") if type(limits) is dict else None
        if type(message_bytes) is int and 0 < message_bytes < self.engine.message_max_bytes:
            self.engine.message_max_bytes = message_bytes
        plugin = self.plugin = load(*self._source)
        config = call.params.get("config") or {}
        plugin.construct(config)
        start = plugin.function("initialize")
        self._run(call, start(config) if start is not None else None, self._initialized)

    def _initialized(self, call: Call, _value: "Any") -> None:
        result: "Dict[str, Any]" = {"protocol_version": VERSION}
        assert self.plugin is not None
        if self.plugin.tools:
            result["tools"] = list(self.plugin.tools)
        if self.plugin.hooks:
            result["hooks"] = [mark for _, mark in self.plugin.hooks.values()]
        self._ready = True
        self.engine.answer(call, result)

    def _tool(self, call: Call) -> None:
        name, arguments = call.params.get("tool"), call.params.get("arguments")
        tool = self.plugin.tool(name) if type(name) is str else None  # type: ignore[union-attr]
        if tool is None:
            text = "the plugin has no function for the tool " + str(name)[:100]
            return self.engine.fail(call, -32602, text, {"code": "invalid_params"})
        value = tool({} if arguments is None else arguments)
        if value is None or type(value) in (dict, str, list, int, bool, float):
            self._answer(call, value)
        else:
            self._run(call, value, self._answer)

    def _hook(self, call: Call) -> None:
        event = call.params.get("event")
        handler = self.plugin.hook(event) if type(event) is str else None  # type: ignore[union-attr]
        if handler is None:
            text = "the plugin has no function for the hook " + str(event)[:100]
            return self.engine.fail(call, -32602, text, {"code": "invalid_params"})
        from ._context import Context

        context = Context(event=event, body=call.params.get("body"), metadata=call.params.get("metadata"),
                          kind=call.params.get("kind"), correlation_id=call.correlation,
                          blocked=call.params.get("blocked"))
        self._run(call, handler(context), self._hooked)

    def _hooked(self, call: Call, value: "Any") -> None:
        if value is not None and not isinstance(value, dict):
            raise TypeError("a hook returns None or a dict, not " + type(value).__name__)
        self._answer(call, value)

    def _event(self, call: Call) -> None:
        handler = self.plugin.function("handle_event")  # type: ignore[union-attr]
        value = handler(call.params.get("topic"), call.params.get("payload")) if handler is not None else None
        self._run(call, value, self._answer_null)

    def _config_changed(self, call: Call) -> None:
        config = call.params.get("config") or {}
        self.parameters["config"] = config
        handler = self.plugin.function("config_changed")  # type: ignore[union-attr]
        self._run(call, handler(config) if handler is not None else None, self._answer_null)

    def _shutdown(self, call: Call) -> None:
        self._run(call, self._stop(), self._answer_null)

    def _stop(self) -> "Any":
        if self._stopped or self.plugin is None or not self._ready:
            return None
        self._stopped = True
        handler = self.plugin.function("shutdown")
        return handler() if handler is not None else None

    def at_end(self) -> None:
        """The input has ended: a plugin that was not told to shut down is told now."""
        value = self._stop()
        if hasattr(value, "__await__"):
            value.close()  # Its loop may be busy; async plugins rely on `shutdown`, which the host sends first.


SESSION: "Optional[Session]" = None
"""The session of this process, once there is one."""


def run(reader: int, writer: int, package: str, entry_point: str, types: "Optional[str]") -> int:
    """Serves until the input ends, then ends the process."""
    global SESSION
    import _signal  # type: ignore[import-not-found]

    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # No KeyboardInterrupt in the middle of a message.
    engine = Engine(reader, writer)
    session = SESSION = Session(engine, package, entry_point, types)
    engine.handler = session.handle
    engine.at_end = session.at_end
    posix.register_at_fork(after_in_child=engine.after_fork)
    engine.serve(lambda: session.ready)
    return 0
