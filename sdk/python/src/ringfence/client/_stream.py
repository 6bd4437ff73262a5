"""Server-sent events, and on from where a stream was cut off."""

import http.client
import json
import socket
import threading
import time
from typing import Any, Iterator, List, NamedTuple, Optional

from ._transport import Sent, Transport
from .errors import RingfenceError, Unavailable, from_document

SILENCE_MAX_S = 60.0
"""The daemon says every 15 s that it is there."""
LINE_MAX_BYTES = 8 * 1024 * 1024
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 2.0


class Event(NamedTuple):
    """One event of a stream."""

    name: str
    """`plugin`, or `missed` when some could not be kept: `data["count"]` says how many, None when nobody knows."""
    data: Any
    """Of `plugin`: `seq`, `at_ms`, `plugin`, and `kind` with the word `event` and what belongs to it."""
    id: Optional[str]
    """What a later stream goes on behind, as `last_event_id`."""


class EventStream:
    """Events as they come. Iterate over it; `close()`, from any thread, ends the iteration. One that breaks off is taken up again
    behind the last event for up to `reconnect_s` seconds, then Unavailable is raised."""

    def __init__(self, transport: Transport, address: str, last_event_id: Optional[str], reconnect_s: float) -> None:
        self._transport, self._address, self._reconnect_s = transport, address, reconnect_s
        self.last_event_id = last_event_id
        self._closed = threading.Event()
        self._over = False
        self._lock = threading.Lock()
        self._sent: Optional[Sent] = self._open()

    def _open(self) -> Sent:
        headers = {"Accept": "text/event-stream"}
        if self.last_event_id is not None:
            headers["Last-Event-ID"] = self.last_event_id
        sent = self._transport.send("GET", self._address, None, headers, SILENCE_MAX_S)
        if sent.response.status != 200:
            try:
                document = json.loads(sent.response.read(1024 * 1024))
            except (OSError, ValueError, http.client.HTTPException):
                document = None
            sent.close()
            raise from_document(document, sent.response.status)
        return sent

    def __enter__(self) -> "EventStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        while True:
            before = self.last_event_id
            try:
                yield from self._read()
                cause: BaseException = EOFError("the stream ended")
            except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
                cause = error
            if self._closed.is_set() or self._over:
                return self._drop()
            self._drop()
            if self._reconnect_s <= 0:
                raise self._lost(cause) from cause
            sent = self._again(cause)
            if sent is None:
                return
            with self._lock:
                self._sent = sent
            if before is None and self.last_event_id is None:
                # Nothing was seen that one could go on behind.
                yield Event("missed", {"count": None}, None)

    def _again(self, cause: BaseException) -> Optional[Sent]:
        end, wait = time.monotonic() + self._reconnect_s, FIRST_WAIT_S
        while not self._closed.wait(wait):
            try:
                return self._open()
            except Unavailable as error:
                if time.monotonic() > end or self._transport.gone() is not None:
                    raise error from cause
            except RingfenceError as error:
                if error.code not in ("busy", "rate_limited", "timeout") or time.monotonic() > end:
                    raise
            wait = min(wait * 2, LONGEST_WAIT_S)
        return None

    def _lost(self, cause: BaseException) -> Unavailable:
        return Unavailable(self._transport.gone() or "the stream of %s broke off: %s" % (self._transport.where, cause),
                           "unavailable", "go on behind `last_event_id`")

    def _read(self) -> Iterator[Event]:
        name, number = "message", None
        data: List[str] = []
        sent = self._sent
        while sent is not None:
            line = sent.response.readline(LINE_MAX_BYTES + 1)
            if not line or self._closed.is_set():
                return
            if not line.endswith(b"\n"):
                raise ValueError("a line of the stream is cut off or longer than %d bytes" % LINE_MAX_BYTES)
            text = line.decode("utf-8").rstrip("\r\n")
            field, _, value = text.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if not text:
                if data:
                    event = Event(name, json.loads("\n".join(data)), number)
                    if number is not None:
                        self.last_event_id = number
                    self._over = self._ends(event)
                    yield event
                    if self._over:
                        return
                name, data, number = "message", [], None
            elif field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                number = value

    def _ends(self, event: Event) -> bool:
        return event.name == "end"

    def _drop(self) -> None:
        with self._lock:
            sent, self._sent = self._sent, None
        if sent is not None:
            sent.close()

    def close(self) -> None:
        """Ends the stream; whoever waits for the next event gets the end. May be called more than once."""
        self._closed.set()
        with self._lock:
            sent = self._sent
        if sent is None:
            return
        # Closing it waits for whoever reads; this wakes them.
        try:
            sent.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._drop()
