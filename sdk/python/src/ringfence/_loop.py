"""One event loop on a thread of its own for `async def` functions. Imported when the first one is called."""

import asyncio
from _thread import allocate_lock, start_new_thread
from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Awaitable, Callable, Optional

    from ._engine import Call
    from ._runner import Session

_CURRENT: "ContextVar[Optional[Call]]" = ContextVar("ringfence_call", default=None)


class Loop:
    """Runs coroutines and answers for them. As many run at once as the host has calls in flight."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._loop = asyncio.new_event_loop()
        self._flush_planned = False
        self._tasks: "set[asyncio.Task[None]]" = set()  # the loop itself holds tasks only weakly
        session.engine.find_current = _CURRENT.get
        started = allocate_lock()
        started.acquire()

        def serve() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.call_soon(started.release)
            self._loop.run_forever()

        start_new_thread(serve, ())
        started.acquire()

    def submit(self, call: "Call", value: "Awaitable[Any]", finish: "Callable[[Call, Any], None]") -> None:
        """Awaits `value` on the loop; then `finish(call, result)`, or the call fails."""
        self._loop.call_soon_threadsafe(self._start, call, value, finish)

    def _start(self, call: "Call", value: "Awaitable[Any]", finish: "Callable[[Call, Any], None]") -> None:
        task = self._loop.create_task(self._serve(call, value, finish))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, call: "Call", value: "Awaitable[Any]", finish: "Callable[[Call, Any], None]") -> None:
        _CURRENT.set(call)
        task = asyncio.current_task()
        call.on_task_cancel = lambda: self._loop.call_soon_threadsafe(task.cancel)  # type: ignore[union-attr]
        if call.cancelled and task is not None:
            task.cancel()
        try:
            finish(call, await value)
        except BaseException as error:  # noqa: B902 - one call's failure must not end the loop
            self._session.failed(call, error)
        finally:
            call.on_task_cancel = None
        if not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        self._session.engine.flush()
