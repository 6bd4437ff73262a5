"""One request and its answer, over a Unix socket or TCP. Each has a connection of its own, so threads share nothing."""

import http.client
import ipaddress
import json
import socket
import ssl
from email.message import Message
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional
from urllib.parse import quote, urlencode, urlsplit

from .errors import RingfenceError, Unavailable, from_document, made

ANSWER_MAX_BYTES = 64 * 1024 * 1024
CONNECT_TIMEOUT_S = 10.0
PREFIX = "/api/v1"


class Answer(NamedTuple):
    """What came of a request."""

    document: Any
    headers: Message


class Sent(NamedTuple):
    """A request whose answer has begun to come."""

    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse
    socket: socket.socket
    """The connection itself lets go of it when the answer is the last."""

    def close(self) -> None:
        self.response.close()
        self.connection.close()
        self.socket.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECT_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_TIMEOUT_S)
        self.sock.connect(self._path)


def address_of(path: str, parameters: Mapping[str, Any], query: Optional[Mapping[str, Any]]) -> str:
    """A path of the document with what it names filled in."""
    for name, value in parameters.items():
        # A dot alone would be another address.
        part = quote(str(value), safe="")
        if part.strip(".") == "":
            raise made("not_found", "there is no %s %r" % (name, str(value)))
        path = path.replace("{%s}" % name, part)
    words = {name: json.dumps(value) if isinstance(value, bool) else value
             for name, value in (query or {}).items() if value is not None}
    return PREFIX + path + ("?" + urlencode(words) if words else "")


class Transport:
    """Where the daemon is, and how it is asked."""

    def __init__(self, where: str, connect: Callable[[], http.client.HTTPConnection], token: Optional[str]) -> None:
        self.where = where
        self._connect = connect
        self._token = token
        self.gone: Callable[[], Optional[str]] = lambda: None
        """Why there is no use in asking any more, when there is none."""

    @classmethod
    def unix(cls, path: str, token: Optional[str] = None) -> "Transport":
        return cls("unix:" + path, lambda: _UnixConnection(path), token)

    @classmethod
    def url(cls, url: str, token: Optional[str], context: Optional[ssl.SSLContext]) -> "Transport":
        parts = urlsplit(url)
        host = parts.hostname
        if parts.scheme not in ("http", "https") or not host or parts.path not in ("", "/") or parts.query:
            raise made("usage", "%r is no address of a daemon" % url, "write it as http://127.0.0.1:7700")
        if parts.username is not None or parts.password is not None:
            raise made("usage", "a token does not belong into an address", "give it as `token`")
        if parts.scheme == "http" and token is not None and not _is_loopback(host):
            raise made("usage", "a token is not sent to %s without TLS" % host, "use https://")
        name, port = host, parts.port
        if parts.scheme == "https":
            tls = context or ssl.create_default_context()
            return cls(url, lambda: http.client.HTTPSConnection(name, port, timeout=CONNECT_TIMEOUT_S, context=tls), token)
        return cls(url, lambda: http.client.HTTPConnection(name, port, timeout=CONNECT_TIMEOUT_S), token)

    def send(self, method: str, address: str, body: Any, headers: Mapping[str, str], timeout: float) -> Sent:
        """Sends a request; the answer's head has come. Whoever calls closes it."""
        sent: Dict[str, str] = {"Connection": "close", "Accept": "application/json", **headers}
        if self._token is not None:
            sent["Authorization"] = "Bearer " + self._token
        data = None
        if body is not None:
            try:
                data = json.dumps(body, allow_nan=False).encode("utf-8")
            except (TypeError, ValueError) as error:
                raise made("usage", "what was given is no JSON: %s" % error) from None
            sent["Content-Type"] = "application/json"
        reason = self.gone()
        if reason is not None:
            raise made("unavailable", reason)
        try:
            connection = self._connect()
            connection.connect()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        try:
            kept = connection.sock
            kept.settimeout(timeout)
            connection.request(method, address, body=data, headers=sent)
            return Sent(connection, connection.getresponse(), kept)
        except BaseException as error:
            connection.close()
            raise self._lost(error, timeout) from error

    def ask(self, method: str, address: str, body: Any = None, headers: Mapping[str, str] = {}, timeout: float = 60.0) -> Answer:
        """Sends a request and reads its whole answer. An answer that is no success is raised."""
        sent = self.send(method, address, body, headers, timeout)
        response = sent.response
        try:
            data = response.read(ANSWER_MAX_BYTES + 1)
            if len(data) > ANSWER_MAX_BYTES:
                raise made("too_large", "the answer has more than %d bytes" % ANSWER_MAX_BYTES)
        except RingfenceError:
            raise
        except BaseException as error:
            raise self._lost(error, timeout) from error
        finally:
            sent.close()
        is_json = response.headers.get_content_type() == "application/json"
        try:
            document = json.loads(data) if is_json else data.decode("utf-8")
        except ValueError:
            raise made("internal", "%s answered what is no JSON" % self.where, status=response.status) from None
        if response.status >= 400:
            raise from_document(document, response.status)
        return Answer(document if data else None, response.headers)

    def _unreachable(self, error: BaseException) -> Unavailable:
        hint = "start it with `ringfence serve`, or with Host.start()"
        if isinstance(error, PermissionError):
            hint = "the socket is its owner's: connect as that user, or by address with a token"
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = "it must be a certificate that the system or `context` trusts, for the name in the address"
        return Unavailable("no daemon answers at %s: %s" % (self.where, error), "unavailable", hint)

    def _lost(self, error: BaseException, timeout: float) -> BaseException:
        if isinstance(error, TimeoutError) or type(error).__name__ == "timeout":
            return made("timeout", "%s did not answer within %g s" % (self.where, timeout),
                        "what was asked may still be done there")
        if isinstance(error, (OSError, http.client.HTTPException, ValueError, AttributeError)):
            reason = self.gone() or "the daemon at %s went away: %s" % (self.where, error or type(error).__name__)
            return Unavailable(reason, "unavailable", "what was asked may have been done or not")
        return error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
