"""One command in a sandbox: its output as it comes, then its report."""

from typing import Dict, Iterator, List, NamedTuple, Optional, cast

from ._stream import EventStream
from ._transport import Transport, address_of
from .errors import RingfenceError, made
from .types import ExecAnswer, RunAnswer, RunReport

RECONNECT_S = 30.0
ACT_TIMEOUT_S = 60.0


class Output(NamedTuple):
    """A piece of output."""

    stream: Optional[str]
    """`stdout` or `stderr`."""
    text: str
    t_ms: int
    """When it came, in milliseconds after the start."""


class Run:
    """A command that was begun. Iterate over it for its output, or `wait()` for its report."""

    def __init__(self, transport: Transport, answer: ExecAnswer) -> None:
        self._transport = transport
        self.id = answer["id"]
        """Its number; None when it could not be recorded, and then it has ended already."""
        self._report = answer["report"]
        self._kept: Dict[str, List[str]] = {"stdout": [answer["stdout"] or ""], "stderr": [answer["stderr"] or ""]}
        self._pending = [Output(name, text[0], 0) for name, text in self._kept.items() if text[0]]
        self._stream: Optional[EventStream] = None
        self._over = self._report is not None

    @property
    def stdout(self) -> str:
        """What has been read of its standard output; all of it after `wait()`. What is no UTF-8 is replaced."""
        return "".join(self._kept["stdout"])

    @property
    def stderr(self) -> str:
        """The same of its standard error."""
        return "".join(self._kept["stderr"])

    @property
    def report(self) -> Optional[RunReport]:
        """Its report, once its end was read."""
        return self._report

    def __iter__(self) -> Iterator[Output]:
        """Output as it comes, until the command has ended. A stream that breaks off goes on where it was."""
        while self._pending:
            yield self._pending.pop(0)
        if self._over:
            return
        if self._stream is None:
            self._stream = EventStream(self._transport, address_of("/runs/{id}/stream", {"id": self.id}, None), None, RECONNECT_S)
        for event in self._stream:
            if event.name == "end":
                self._over, self._report = True, cast(Optional[RunReport], event.data)
            elif event.name == "output":
                output = Output(event.data["stream"], event.data["text"], event.data["t_ms"])
                self._kept.setdefault(output.stream or "stdout", []).append(output.text)
                yield output

    def wait(self) -> RunReport:
        """Its report, when it has ended. The limit `timeout_ms` of the command bounds the wait.

        Unavailable when the daemon went away; Cancelled when `close()` ended the wait."""
        for _ in self:
            pass
        if self._report is None and self.id is not None and self._over:
            found = self._transport.ask("GET", address_of("/runs/{id}", {"id": self.id}, None))
            self._report = cast(RunAnswer, found.document)["report"]
        if self._report is None:
            raise made("cancelled", "nobody waits for run %s any more, or its report was lost" % self.id)
        return self._report

    def cancel(self) -> None:
        """Ends it; `wait()` then has its report. Nothing when it has ended already."""
        if self._over or self.id is None:
            return
        try:
            self._transport.ask("POST", address_of("/runs/{id}/cancel", {"id": self.id}, None), timeout=ACT_TIMEOUT_S)
        except RingfenceError as error:
            if error.code != "not_active":
                raise

    def close(self) -> None:
        """Stops reading. The command goes on to its end, or to `cancel()`."""
        if self._stream is not None:
            self._stream.close()
