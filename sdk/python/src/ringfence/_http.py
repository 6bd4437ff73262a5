"""A body that is read piece by piece: what `host.http_fetch(..., stream=True)` gives. Imported when it is first used."""

from .errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Dict, Iterator, List, Optional, Type

    from ._host import Host

_CLOSE_WAIT_S = 2.0


class HttpStream:
    """The answer of a server whose body is still to be read. Iterating gives its pieces as they arrive, as bytes.

        with host.http_fetch(url, stream=True) as answer:
            for line in answer.iter_lines():
                ...

    `status`, `headers` and `url` are as in a whole answer. Closed by the end of the body, `with`, `close()`, the end of the
    plugin, and by the host when nobody reads for 60 s. One thread reads at a time.
    """

    def __init__(self, host: "Host", answer: "Dict[str, Any]") -> None:
        self.status = int(answer.get("status") or 0)
        self.headers: "Dict[str, str]" = dict(answer.get("headers") or {})
        self.url = str(answer.get("url", ""))
        self._host = host
        self._id: "Optional[str]" = answer.get("stream")
        self._offset = 0

    @property
    def closed(self) -> bool:
        """Whether the body was read to its end, or closed."""
        return self._id is None

    def read(self, max_bytes: "Optional[int]" = None, *, timeout_s: "Optional[float]" = None) -> bytes:
        """The next piece, as soon as there is one: at most `max_bytes`, at most 64 KiB. Empty at the end of the body.

        `Timeout` when nothing came within `timeout_s` or the time of the call; then the stream is still open. `too_large` when
        the body has more bytes than the `max_bytes` of the fetch; `fetch_failed` when the server breaks off.
        """
        if self._id is None:
            return b""
        params: "Dict[str, Any]" = {"stream": self._id}
        if max_bytes is not None:
            params["max_bytes"] = max_bytes
        answer = self._host.request("http_fetch_read", params, timeout_s=timeout_s)
        piece = _bytes(answer)
        if answer.get("offset") != self._offset:
            self.close()
            raise HostError("a piece was lost with a read that was given up; fetch anew", code="incomplete")
        self._offset += len(piece)
        if answer.get("done"):
            self._id = None
        return piece

    def __iter__(self) -> "Iterator[bytes]":
        piece = self.read()
        while piece:
            yield piece
            piece = self.read()

    def iter_lines(self) -> "Iterator[str]":
        """The lines of the body as text, without their ends (LF, or CR LF), each as soon as it is there.

        Bytes that are not UTF-8 become U+FFFD. A line is held until its end has come.
        """
        held: "List[bytes]" = []
        for piece in self:
            first, *others = piece.split(b"\n")
            held.append(first)
            for other in others:
                yield _line(held)
                held = [other]
        if any(held):
            yield _line(held)

    def close(self) -> None:
        """Reads no more: the host closes the connection. Does nothing when it is closed already."""
        if self._id is None:
            return
        stream, self._id = self._id, None
        try:
            self._host._beside_call("http_fetch_close", {"stream": stream}, _CLOSE_WAIT_S)
        except HostError:
            pass  # The host closes it by itself when nobody reads.

    def __enter__(self) -> "HttpStream":
        return self

    def __exit__(self, kind: "Optional[Type[BaseException]]", error: "Optional[BaseException]",
                 trace: "Optional[TracebackType]") -> None:
        self.close()


def _bytes(answer: "Dict[str, Any]") -> bytes:
    encoded = answer.get("body_base64")
    if isinstance(encoded, str):
        import binascii

        return binascii.a2b_base64(encoded)
    return str(answer.get("body", "")).encode("utf-8")


def _line(parts: "List[bytes]") -> str:
    line = b"".join(parts)
    return (line[:-1] if line.endswith(b"\r") else line).decode("utf-8", "replace")
