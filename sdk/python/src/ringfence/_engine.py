"""The protocol's two pipes and the threads that serve them.

One thread leads: it reads, and runs what it read right away, because handing a call to another thread would cost more
than most calls. A watcher looks every WATCH_S while calls run; when one call is still the same as at the last look, the
lead goes to another thread, so that pings, cancels and other calls are served while that function blocks. From then on
calls are handed to threads at once (`_eager`), until they are short again. Nothing starts a thread before the first call.

Answers gather in `_out` and leave with one write when nothing is left to run, when OUT_MAX_BYTES is reached, or when the
watcher finds the lead stuck.

INVARIANT: `_leader`, `_busy`, `_sequence`, `_idle` and `_backlog` change only under `_lock`; only the thread that
`_leader` names reads from the pipe.
"""

import posix
import sys
import time
from _collections import deque  # type: ignore[import-not-found]  # `collections` costs 3 ms
from _thread import allocate_lock, get_ident, start_new_thread

from . import _codec
from .errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, Optional, Tuple, Union

READ_BYTES = 65536
"""One read; the size of a Linux pipe."""
OUT_MAX_BYTES = 65536
"""Answers that may wait for a common write, in bytes."""
OUT_WAIT_S = 0.001
"""Longest an answer waits while the lead runs other short calls."""
WATCH_S = 0.002
"""How often the watcher looks whether the lead is stuck."""
WATCH_QUIET = 25
"""Looks without any call after which the watcher sleeps until the next one."""
EAGER_CALLS = 64
"""Short calls in a row after which the lead runs calls itself again."""
THREADS_MAX = 72
"""Threads that run plugin code: 64 calls in flight, and the host's own requests."""
END_S = 1.5
"""From the end of the input to the end of the process, at most; the host waits 2 s."""
VERSION = "1"


class Call:
    """One request of the host, until it is answered."""

    __slots__ = ("id", "method", "params", "correlation", "deadline", "cancelled", "on_cancel", "on_task_cancel")

    def __init__(self, id: "Any", method: str, params: "Dict[str, Any]", meta: "Any") -> None:
        self.id = id
        self.method = method
        self.params = params
        self.correlation: "Optional[str]" = None
        self.deadline: "Optional[float]" = None
        self.cancelled = False
        self.on_cancel: "Optional[Callable[[], None]]" = None  # ends a wait for the host
        self.on_task_cancel: "Optional[Callable[[], Any]]" = None  # ends a coroutine
        if type(meta) is dict:
            correlation = meta.get("correlation_id")
            if type(correlation) is str:
                self.correlation = correlation
            left_ms = meta.get("deadline_ms")
            if type(left_ms) is int or type(left_ms) is float:
                self.deadline = time.monotonic() + left_ms / 1000


class Answer:
    """The host's answer to one of our requests, while somebody waits for it."""

    __slots__ = ("lock", "done", "result", "error")

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.lock.acquire()
        self.done = False
        self.result: "Any" = None
        self.error: "Any" = None

    def settle(self, result: "Any", error: "Any") -> None:
        if not self.done:
            self.result, self.error, self.done = result, error, True
            self.lock.release()


class _Idle:
    """A parked thread: what it is to do is written here, then its lock opened."""

    __slots__ = ("ident", "lock", "call")

    def __init__(self) -> None:
        self.ident = get_ident()
        self.lock = allocate_lock()
        self.lock.acquire()
        self.call: "Optional[Call]" = None


class Engine:
    """Serves one host over two descriptors. `handler(call)` runs plugin code and answers by `answer` or `fail`."""

    def __init__(self, reader: int, writer: int) -> None:
        self.handler: "Callable[[Call], None]" = lambda call: self.fail(call, -31009, "the plugin is not ready")
        self.at_end: "Callable[[], None]" = lambda: None
        self.current: "Dict[int, Call]" = {}
        self.find_current: "Optional[Callable[[], Optional[Call]]]" = None
        self.message_max_bytes = _codec.MESSAGE_MAX_BYTES
        self._reader, self._writer = reader, writer
        self._calls: "Dict[Any, Call]" = {}
        self._answers: "Dict[int, Answer]" = {}
        self._next_id = 0
        self._parts: "List[bytes]" = []
        self._parts_bytes = 0
        self._skipping = False
        self._out: "List[str]" = []
        self._out_bytes = 0
        self._write_lock = allocate_lock()
        self._lock = allocate_lock()
        self._pending: "Deque[Call]" = deque()
        self._backlog: "Deque[Call]" = deque()
        self._idle: "List[_Idle]" = []
        self._threads = 0
        self._leader = get_ident()
        self._busy = False
        self._sequence = 0
        self._eager = 0
        self._watch_lock = allocate_lock()
        self._watch_lock.acquire()
        self._watching: "Optional[bool]" = None  # None: no watcher yet
        self._ending = False

    # ---- writing -------------------------------------------------------------------------------------------------

    def answer(self, call: Call, result: "Any") -> None:
        """Answers with any JSON value. TypeError, ValueError, RecursionError when it is none; OverflowError too large."""
        self._reply(call, ',"result":', _codec.encode(result))

    def fail(self, call: Call, number: int, message: str, data: "Any" = None) -> None:
        """Answers with an error."""
        error: "Dict[str, Any]" = {"code": number, "message": _safe(message)}
        if data is not None:
            error["data"] = data
        self._reply(call, ',"error":', _codec.encode(error))

    def _reply(self, call: Call, member: str, body: str) -> None:
        id = str(call.id) if type(call.id) is int else _codec.encode(call.id)
        line = "".join(('{"jsonrpc":"2.0","id":', id, member, body, _meta(call, None), "}\n"))
        self._check(line)
        # Only after the line is known to be good: a failed answer leaves the call open for `fail`.
        if self._calls.pop(call.id, None) is not call:
            return
        self._out.append(line)
        self._out_bytes += len(line)
        if self._out_bytes > OUT_MAX_BYTES:
            self.flush()

    def notify(self, method: str, params: "Any", call: "Optional[Call]" = None) -> None:
        """Sends a notification at once."""
        line = '{"jsonrpc":"2.0","method":' + _codec.encode(method) + ',"params":' + _codec.encode(params)
        self._send(line + _meta(call, None) + "}\n")

    def request(self, method: str, params: "Any", timeout_s: "Optional[float]" = None, within_call: bool = True) -> Answer:
        """Asks the host and waits for its answer, no longer than the call in progress may take if it is asked within that."""
        call = self.call_in_progress() if within_call else None
        deadline = call.deadline if call is not None else None
        if timeout_s is not None:
            own = time.monotonic() + timeout_s
            deadline = own if deadline is None else min(own, deadline)
        answer = Answer()
        with self._lock:
            self._next_id += 1
            number = self._next_id
        head = '{"jsonrpc":"2.0","id":' + str(number) + ',"method":' + _codec.encode(method) + ',"params":'
        line = "".join((head, _codec.encode(params), _meta(call, deadline), "}\n"))
        self._check(line)
        if call is not None:
            if call.cancelled:
                answer.settle(None, _CANCELLED)
                return answer
            call.on_cancel = lambda: answer.settle(None, _CANCELLED)
        self._answers[number] = answer
        try:
            self._send(line)
            if not self._wait(answer, deadline):
                answer.settle(None, {"code": -31003, "message": "the host did not answer " + method + " in time"})
            if self._answers.get(number) is answer:  # still there: the host has not answered
                self.notify("$/cancel", {"id": number}, call)
        finally:
            self._answers.pop(number, None)
            if call is not None:
                call.on_cancel = None
        return answer

    def _check(self, line: str) -> None:
        # A character has at most 4 bytes, so most lines are judged without encoding them.
        if len(line) * 4 > self.message_max_bytes and len(line.encode("utf-8")) > self.message_max_bytes:
            raise OverflowError("the message is longer than " + str(self.message_max_bytes) + " bytes")
        if not line.isascii():
            line.encode("utf-8")  # A lone surrogate must fail here, not in a common write.

    def _send(self, line: str) -> None:
        self._check(line)
        if self._writer < 0:
            raise HostError("a forked child has no host; only the plugin's own process has", code="not_ready", number=-31009)
        self._out.append(line)
        self.flush()

    def flush(self) -> None:
        """Writes what has gathered, in order, with one write."""
        while self._out:
            with self._write_lock:
                # Others append meanwhile; the list itself never changes hands, so no line is lost.
                count = len(self._out)
                text = self._out[0] if count == 1 else "".join(self._out[:count])
                data = memoryview(text.encode("utf-8"))
                del self._out[:count]
                self._out_bytes = 0
                try:
                    while data:
                        try:
                            data = data[posix.write(self._writer, data):]
                        except BlockingIOError:
                            self._poll(self._writer, 4, None)
                except OSError:  # The host is gone: so are all who could read an answer.
                    posix._exit(0)

    # ---- waiting for the host's answers ----------------------------------------------------------------------------

    def call_in_progress(self) -> "Optional[Call]":
        """The call that the running code belongs to; None in threads of the plugin's own."""
        call = self.current.get(get_ident())
        if call is None and self.find_current is not None:
            return self.find_current()
        return call

    def _wait(self, answer: Answer, deadline: "Optional[float]") -> bool:
        while not answer.done:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            with self._lock:
                leading = self._leader == get_ident()
                busy, self._busy = self._busy, False if leading else self._busy
                if not leading and busy and not self._watching:
                    # Before the plugin is ready nobody watches: `initialize` may be waiting for this thread.
                    self._give_lead()
            if not leading:
                # Longer waits than a day do not fit a lock's timeout.
                if answer.lock.acquire(True, -1 if left is None else min(left, 86400.0)):
                    answer.lock.release()
                continue
            try:
                self._hand_over_all()
                self.flush()
                if left is None or self._poll(self._reader, 1, left):
                    self._read()
                self._hand_over_all()
            finally:
                with self._lock:
                    self._sequence += 1
                    self._busy = busy
        return True

    @staticmethod
    def _poll(fd: int, event: int, left_s: "Optional[float]") -> bool:
        import select

        poll = select.poll()
        poll.register(fd, event)
        return bool(poll.poll(None if left_s is None else min(int(left_s * 1000) + 1, 86400000)))

    # ---- reading -------------------------------------------------------------------------------------------------

    def serve(self, ready: "Callable[[], bool]") -> None:
        """Serves until the input ends; then the process ends.

        Until `ready()`, calls run on this thread with no watcher: a plugin is imported on the main thread, and no thread is made.
        """
        self._threads += 1
        while self._leader == get_ident() and not ready():
            self._step()
        if self._leader == get_ident():
            self._lead()
        self._work(None)

    def _step(self) -> None:
        me = get_ident()
        self._read()
        while self._pending and self._leader == me:
            with self._lock:
                self._busy = True
            self._run(self._pending.popleft())
            with self._lock:
                if self._leader == me:
                    self._busy = False
        self.flush()

    def _read(self) -> None:
        try:
            chunk = posix.read(self._reader, READ_BYTES)
        except BlockingIOError:
            self._poll(self._reader, 1, None)
            return
        except OSError:  # The plugin closed it: nothing can come any more.
            chunk = b""
        if not chunk:
            self.end()
        lines = chunk.split(b"\n")
        rest = lines.pop()
        for line in lines:
            if self._parts:
                self._parts.append(line)
                line = b"".join(self._parts)
                self._parts.clear()
                self._parts_bytes = 0
            if self._skipping:
                self._skipping = False
            elif len(line) >= _codec.MESSAGE_MAX_BYTES:
                self._too_long()
            elif line:
                self._accept(line)
        if rest and not self._skipping:
            self._parts.append(rest)
            self._parts_bytes += len(rest)
            if self._parts_bytes >= _codec.MESSAGE_MAX_BYTES:
                self._parts.clear()
                self._parts_bytes = 0
                self._skipping = True
                self._too_long()

    def _too_long(self) -> None:
        self._refuse(None, -31005, "a line is longer than " + str(_codec.MESSAGE_MAX_BYTES) + " bytes")

    def _refuse(self, id: "Any", number: int, message: str) -> None:
        error = _codec.encode({"code": number, "message": _safe(message)})
        self._send('{"jsonrpc":"2.0","id":' + _codec.encode(id) + ',"error":' + error + _meta(None, None) + "}\n")

    def _accept(self, line: bytes) -> None:
        try:
            message = _codec.decode(line)
        except ValueError as error:  # UnicodeDecodeError is one
            if line.strip():
                self._refuse(None, -32700, "not a message: " + str(error)[:200])
            return
        if type(message) is not dict:
            return self._refuse(None, -32600, "a message is an object")
        method = message.get("method")
        id = message.get("id")
        if method is None:
            return self._accept_answer(id, message)
        params = message.get("params")
        params = {} if params is None else params
        if type(method) is not str or type(params) is not dict or type(id) not in (int, str, type(None)):
            return self._refuse(id if type(id) in (int, str) else None, -32600, "not a request as the protocol has it")
        if id is None:
            return self._accept_notification(method, params)
        call = Call(id, method, params, message.get("_meta"))
        if self._calls.setdefault(id, call) is not call:
            return self._refuse(id, -32600, "a request with this id is still running")
        if method == "ping":
            self.answer(call, {})
        else:
            self._pending.append(call)

    def _accept_answer(self, id: "Any", message: "Dict[str, Any]") -> None:
        answer = self._answers.pop(id, None) if type(id) is int else None
        if answer is not None:  # else late or unknown: nobody waits for it
            answer.settle(message.get("result"), message.get("error"))

    def _accept_notification(self, method: str, params: "Dict[str, Any]") -> None:
        if method != "$/cancel":
            return
        id = params.get("id")
        call = self._calls.get(id) if type(id) in (int, str) else None
        if call is None:
            return
        call.cancelled = True
        for act in (call.on_cancel, call.on_task_cancel):
            if act is not None:
                act()
        try:
            self._pending.remove(call)
        except ValueError:
            return  # It runs already; it sees `cancelled`, and its next host call raises.
        self.fail(call, -31002, "cancelled before it began", {"code": "cancelled"})

    # ---- the lead, the watcher, the workers ------------------------------------------------------------------------

    def _lead(self) -> None:
        me = get_ident()
        written = 0.0
        while True:
            if not self._pending:
                self.flush()
                self._read()
                written = time.monotonic()
                continue
            if self._eager:
                self._hand_over_all()
                continue
            try:
                call = self._pending.popleft()
            except IndexError:
                continue
            with self._lock:
                self._sequence += 1
                self._busy = True
                if not self._watching:
                    self._wake_watcher()
            self._run(call)
            with self._lock:
                if self._leader != me:
                    break
                self._busy = False
            if self._out and time.monotonic() - written > OUT_WAIT_S:
                self.flush()
                written = time.monotonic()
        self.flush()

    def _run(self, call: Call) -> None:
        me = get_ident()
        self.current[me] = call
        try:
            self.handler(call)
        except BaseException:  # noqa: B902 - `handler` answers for the plugin; what is left is memory that ran out
            sys.excepthook(*sys.exc_info())
        finally:
            self.current.pop(me, None)
        if self._writer < 0:
            posix._exit(0)  # A child that the plugin forked must not go on as a second runner.

    def _wake_watcher(self) -> None:
        if self._watching is None:
            try:
                start_new_thread(self._watch, ())
            except RuntimeError:  # The limit on tasks: without a watcher, calls run one after the other.
                return
        else:
            self._watch_lock.release()
        self._watching = True

    def _watch(self) -> None:
        seen, quiet = -1, 0
        while True:
            time.sleep(WATCH_S)
            with self._lock:
                if self._busy and self._sequence == seen:
                    self._eager = EAGER_CALLS
                    self._give_lead()
                    seen = -1
                elif self._sequence != seen:
                    seen, quiet = self._sequence, 0
                elif not self._busy:
                    quiet += 1
                if quiet >= WATCH_QUIET:
                    self._watching = False
            if not self._watching:
                self._watch_lock.acquire()
                quiet = 0
            elif self._out:
                self.flush()

    def _give_lead(self) -> None:
        """Under the lock: another thread leads from now on, unless there can be none."""
        if self._idle:
            idle = self._idle.pop()
            self._busy = False
            self._leader = idle.ident
            idle.lock.release()
            return
        ready = allocate_lock()
        ready.acquire()

        def lead() -> None:
            ready.acquire()
            self._lead()
            self._work(None)

        try:
            self._leader = start_new_thread(lead, ())
        except RuntimeError:  # The limit on tasks: whoever leads goes on when its call is done.
            return
        self._threads += 1
        self._busy = False
        ready.release()

    def after_fork(self) -> None:
        """In a child that the plugin forked: the protocol belongs to the parent alone."""
        for fd in (self._reader, self._writer):
            try:
                posix.close(fd)
            except OSError:
                continue
        self._reader = self._writer = -1
        self._out.clear()
        self._write_lock = allocate_lock()
        self._lock = allocate_lock()

    def _hand_over_all(self) -> None:
        while self._pending:
            try:
                call = self._pending.popleft()
            except IndexError:
                return
            with self._lock:
                if self._idle:
                    idle = self._idle.pop()
                    idle.call = call
                    idle.lock.release()
                elif self._threads < THREADS_MAX or call.method == "shutdown":
                    self._threads += 1
                    try:
                        start_new_thread(self._work, (call,))
                    except RuntimeError:  # The limit on tasks: those that exist take it in turn.
                        self._threads -= 1
                        self._backlog.append(call)
                else:
                    self._backlog.append(call)

    def _work(self, call: "Optional[Call]") -> None:
        mine = _Idle()
        while True:
            if call is not None:
                began = time.monotonic()
                self._run(call)
                short = time.monotonic() - began < WATCH_S
                self._eager = max(self._eager - 1, 0) if short else EAGER_CALLS
            self.flush()
            with self._lock:
                call = self._backlog.popleft() if self._backlog else None
                if call is None:
                    self._idle.append(mine)
            if call is None:
                mine.lock.acquire()
                call, mine.call = mine.call, None
                if call is None:
                    self._lead()

    # ---- the end -------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Ends the process: `at_end`, what the plugin left to `atexit`, what is in its buffers; within END_S."""
        with self._lock:
            self._busy = False
            if self._ending:
                posix._exit(0)
            self._ending = True

        def guard() -> None:
            time.sleep(END_S)
            posix._exit(0)

        try:
            start_new_thread(guard, ())
            self.at_end()
            import atexit

            atexit._run_exitfuncs()
        except BaseException:  # noqa: B902 - whatever it is, the process ends
            sys.excepthook(*sys.exc_info())
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, ValueError, OSError):
                continue
        posix._exit(0)


_CANCELLED = {"code": -31002, "message": "the call was cancelled", "data": {"code": "cancelled"}}


def _safe(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _meta(call: "Optional[Call]", deadline: "Optional[float]") -> str:
    if call is None or call.correlation is None:
        text = ',"_meta":{"protocol_version":"1"'
    else:
        text = ',"_meta":{"protocol_version":"1","correlation_id":' + _codec.encode(call.correlation)
    if deadline is not None:
        text += ',"deadline_ms":' + str(max(int((deadline - time.monotonic()) * 1000), 0))
    return text + "}"
