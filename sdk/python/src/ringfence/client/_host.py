"""An application's side of a daemon: one method for each operation of the HTTP API."""

import os
import ssl
import uuid
from typing import Any, Callable, Dict, Generic, List, Mapping, Optional, Sequence, TypeVar, Union, cast

from . import _daemon
from ._run import Run
from ._stream import EventStream
from ._transport import Answer, Transport, address_of
from .errors import Conflict, RingfenceError, made
from .types import (AuditPage, AuditVerdict, CreatedToken, DashboardLink, Denial, EventReport, ExecAnswer, ExecLimitsBody, ExecutionPage,
                    FoundPackages, GrantInfo, HealthAnswer, HookInfo, HookOutcome, Installed, LogLine, PluginDetails,
                    PluginSummary, ResourceSample, Role, RunAnswer, RunsAnswer, TokenInfo, Upgraded)

LOOK_TIMEOUT_S = 60.0
ACT_TIMEOUT_S = 660.0
"""What changes something may wait for a scan, a start, and others who change the same plugin."""
MARGIN_S = 15.0
"""A call with a limit is waited for so much longer: the answer that it took too long is the daemon's."""
CHANGE_TRIES = 5

Value = TypeVar("Value")


class Versioned(Generic[Value]):
    """What two people may change at once, with its version: hand that back with a change, and nobody is overwritten."""

    def __init__(self, value: Value, version: str) -> None:
        self.value = value
        self.version = version

    def __repr__(self) -> str:
        return "Versioned(%r, %r)" % (self.value, self.version)


class Host:
    """A daemon that this application uses. May be used by several threads at once; in a coroutine, by `asyncio.to_thread`.

    Every method raises a RingfenceError: see `ringfence.client.errors`. A request that was given up may still be done by the daemon.
    """

    def __init__(self, transport: Transport, daemon: Optional[_daemon.Daemon] = None) -> None:
        self._transport = transport
        self._daemon = daemon

    # ---- beginning and end ------------------------------------------------------------------------------------------

    @classmethod
    def connect(cls, url: Optional[str] = None, token: Optional[str] = None, *, home: Optional[str] = None,
                socket: Optional[str] = None, context: Optional[ssl.SSLContext] = None) -> "Host":
        """A daemon that runs: the one at `url`, with a token; else at `socket`; else of `home`, by default the command line's own.

        Over a socket root and the daemon's own user need no token. `context` is for certificates that the system does not trust.
        Raises Unavailable when nobody answers."""
        if url is not None:
            transport = Transport.url(url, token, context)
        else:
            transport = Transport.unix(socket or os.path.join(_daemon.home_of(home), "daemon.sock"), token)
        host = cls(transport)
        host.health()
        return host

    @classmethod
    def start(cls, binary: Optional[str] = None, *, home: Optional[str] = None,
              config: Union[str, Mapping[str, Any], None] = None, environment: Optional[Mapping[str, str]] = None,
              timeout: float = _daemon.START_TIMEOUT_S) -> "Host":
        """A daemon of this application's own, on a socket in its home, which ends with it, however it ends.

        `binary` is the program `ringfence`: else RINGFENCE_BIN, else on PATH. Without `home` it has one for its lifetime. `config`
        is written as `config.toml` of that home: as TOML, or as a mapping of its tables. `close()`, a `with` block, the end of
        the process and the end of this object stop it in order; its log is `daemon.log` in the home.

        NotFound without a program, Busy when another daemon holds the home, Usage for a configuration with mistakes, LimitBroken
        when it is not ready within `timeout` seconds."""
        daemon = _daemon.start(binary, home, config, environment, timeout)
        transport = Transport.unix(daemon.socket)
        transport.gone = daemon.gone
        return cls(transport, daemon)

    def close(self) -> None:
        """Ends the daemon, if this host started it, and waits until it has gone. May be called more than once."""
        if self._daemon is not None:
            self._daemon.stop()

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "Host(%r)" % self._transport.where

    @property
    def home(self) -> Optional[str]:
        """The home of a daemon that this host started."""
        return self._daemon.home if self._daemon is not None else None

    @property
    def pid(self) -> Optional[int]:
        """The process of a daemon that this host started."""
        return self._daemon.process.pid if self._daemon is not None else None

    # ---- plugins ----------------------------------------------------------------------------------------------------

    def list(self) -> List[PluginSummary]:
        """All installed plugins."""
        return cast("List[PluginSummary]", self._ask("GET", "/plugins"))

    def scan(self) -> FoundPackages:
        """Packages in the plugin directories of the configuration."""
        return cast(FoundPackages, self._ask("POST", "/plugins/scan", timeout=ACT_TIMEOUT_S))

    def show(self, name: str) -> PluginDetails:
        """Everything about one plugin."""
        return cast(PluginDetails, self._ask("GET", "/plugins/{name}", {"name": name}))

    def install(self, path: "Union[str, os.PathLike[str]]", *, grant: Optional[Sequence[str]] = None,
                grant_requested: bool = False, idempotency_key: Optional[str] = None) -> Installed:
        """Installs the package in this directory. `grant` is a consent to exactly these permissions, an empty list too;
        `grant_requested` to all that it asks for; with neither the plugin waits for `grant(...)`.

        Over a socket a relative path is this process's; at an address it is the daemon's machine's and must be absolute."""
        body = {"path": self._path(path), **_consent(grant, grant_requested)}
        return cast(Installed, self._once("POST", "/plugins", {}, body, idempotency_key, ACT_TIMEOUT_S))

    def activate(self, name: str) -> PluginSummary:
        """Starts a plugin and keeps it active."""
        return cast(PluginSummary, self._ask("POST", "/plugins/{name}/activate", {"name": name}, timeout=ACT_TIMEOUT_S))

    def deactivate(self, name: str) -> PluginSummary:
        """Stops a plugin, in order."""
        return cast(PluginSummary, self._ask("POST", "/plugins/{name}/deactivate", {"name": name}, timeout=ACT_TIMEOUT_S))

    def uninstall(self, name: str, *, keep_data: bool = False) -> None:
        """Removes a plugin, and its private data unless they are to be kept for the same publisher."""
        self._ask("DELETE", "/plugins/{name}", {"name": name}, query={"keep_data": keep_data}, timeout=ACT_TIMEOUT_S)

    def upgrade(self, name: str, path: "Union[str, os.PathLike[str]]", *, grant: Optional[Sequence[str]] = None,
                grant_requested: bool = False, allow_downgrade: bool = False) -> Upgraded:
        """Takes the version in this directory. One that asks for more than is granted waits for consent: `done` is False."""
        body = {"path": self._path(path), "allow_downgrade": allow_downgrade, **_consent(grant, grant_requested)}
        return cast(Upgraded, self._ask("POST", "/plugins/{name}/upgrade", {"name": name}, body, timeout=ACT_TIMEOUT_S))

    def abandon_upgrade(self, name: str, *, version: Optional[str] = None) -> PluginSummary:
        """Drops the version that waits for consent; the installed one runs on. NotFound when none waits. With `version`, that of
        `grants`, Conflict when another one has come to wait."""
        answer = self._answer("DELETE", "/plugins/{name}/upgrade", {"name": name}, headers=_if_match(version), timeout=ACT_TIMEOUT_S)
        return cast(PluginSummary, answer.document)

    def rollback(self, name: str) -> Upgraded:
        """Goes back to the version before."""
        return cast(Upgraded, self._ask("POST", "/plugins/{name}/rollback", {"name": name}, timeout=ACT_TIMEOUT_S))

    # ---- grants and configuration -----------------------------------------------------------------------------------

    def grants(self, name: str) -> "Versioned[List[GrantInfo]]":
        """What is granted, with its version."""
        return _versioned(self._answer("GET", "/plugins/{name}/grants", {"name": name}))

    def set_grants(self, name: str, permissions: Sequence[str], *, version: Optional[str] = None) -> "Versioned[List[GrantInfo]]":
        """Consents to these and no others; what is missing is taken back at once. With `version`, Conflict when somebody was faster.
        While an upgrade waits this is consent to it, and needs `version`."""
        return _versioned(self._answer("PUT", "/plugins/{name}/grants", {"name": name}, {"permissions": _texts(permissions)},
                                       headers=_if_match(version), timeout=ACT_TIMEOUT_S))

    def grant(self, name: str, *permissions: str) -> "Versioned[List[GrantInfo]]":
        """Grants these beside what is granted; with none, consents to what there is. Conflict while an upgrade waits for consent:
        then `set_grants` says all that the new version shall have."""
        return self._change_grants(name, lambda held: held + [one for one in permissions if one not in held])

    def revoke(self, name: str, *permissions: str) -> "Versioned[List[GrantInfo]]":
        """Takes these back at once. NotFound when one of them, as `grants` writes it, is not granted."""
        def less(held: List[str]) -> List[str]:
            for one in permissions:
                if one not in held:
                    raise made("not_found", "%s has no grant %s" % (name, one), "it has: " + (", ".join(held) or "none"))
            return [one for one in held if one not in permissions]

        return self._change_grants(name, less)

    def get_config(self, name: str) -> "Versioned[Dict[str, Any]]":
        """A plugin's configuration, with its version. A secret is `***`."""
        return _versioned(self._answer("GET", "/plugins/{name}/config", {"name": name}))

    def set_config(self, name: str, config: Mapping[str, Any], *, version: Optional[str] = None) -> "Versioned[Dict[str, Any]]":
        """Replaces the configuration. A secret that is `***` stays. With `version`, Conflict when somebody was faster."""
        return _versioned(self._answer("PUT", "/plugins/{name}/config", {"name": name}, dict(config), headers=_if_match(version),
                                       timeout=ACT_TIMEOUT_S))

    # ---- work -------------------------------------------------------------------------------------------------------

    def call(self, name: str, tool: str, arguments: Optional[Mapping[str, Any]] = None, *, timeout: Optional[float] = None,
             idempotency_key: Optional[str] = None) -> Any:
        """What a tool answers. It may take `timeout` seconds; default and most: the plugin's own limit.

        Each call has a key. After Unavailable or a `timeout` of this side, the error's `idempotency_key` given again asks the same
        daemon for the first one's answer, without doing it twice."""
        body: Dict[str, Any] = {"tool": tool, "arguments": dict(arguments or {}), **_timeout_ms(timeout)}
        answer = self._once("POST", "/plugins/{name}/call", {"name": name}, body, idempotency_key, _patience(timeout))
        return answer["result"]

    def hook(self, event: str, body: Any = None, metadata: Optional[Mapping[str, Any]] = None, *, dry_run: bool = False,
             trace: bool = False, wait: bool = False, timeout: Optional[float] = None) -> HookOutcome:
        """Passes an event through the plugins: what they made of it, or that one blocked it. `trace` says what each mutator changed,
        `wait` waits for observers, too."""
        sent = {"body": body, "metadata": dict(metadata or {}), "dry_run": dry_run, "trace": trace, "wait": wait,
                **_timeout_ms(timeout)}
        return cast(HookOutcome, self._ask("POST", "/hooks/{event}", {"event": event}, sent, timeout=_patience(timeout)))

    def hooks(self) -> List[HookInfo]:
        """Who takes part in which event, in order."""
        return cast("List[HookInfo]", self._ask("GET", "/hooks"))

    def post_event(self, topic: str, payload: Any = None, *, wait: bool = False) -> EventReport:
        """Sends a message to the plugins that are granted `event:post=TOPIC`. `wait` waits until each has answered or failed."""
        body = {"topic": topic, "payload": payload, "wait": wait}
        return cast(EventReport, self._ask("POST", "/events", None, body, timeout=ACT_TIMEOUT_S))

    def exec(self, command: Sequence[str], *, read: Sequence[str] = (), write: Sequence[str] = (), grant: Sequence[str] = (),
             deny: Sequence[str] = (), environment: Optional[Mapping[str, str]] = None, working_directory: Optional[str] = None,
             limits: Optional[ExecLimitsBody] = None, strict: bool = False, explain: bool = False) -> Run:
        """Begins one command in a sandbox that may do nothing but what is given: iterate over the answer for its output, or
        `wait()` for its report. Paths are absolute. A command that cannot be started is raised.

        With `explain` every path that it names is watched, and the report's `denials` name what was out of reach, too; without it
        a file that was not granted does not exist for the command, and is no denial."""
        body: Dict[str, Any] = {"command": _texts(command), "read": _texts(read), "write": _texts(write), "grant": _texts(grant),
                                "deny": _texts(deny), "environment": dict(environment or {}), "limits": dict(limits or {}),
                                "strict": strict, "explain": explain, "working_directory": working_directory}
        return Run(self._transport, cast(ExecAnswer, self._ask("POST", "/exec", None, body, timeout=ACT_TIMEOUT_S)))

    # ---- looking ----------------------------------------------------------------------------------------------------

    def events(self, last_event_id: Optional[str] = None, *, reconnect_s: float = 30.0) -> EventStream:
        """Everything that happens to plugins from now on, or behind an event that was seen; subscribed when this returns."""
        return EventStream(self._transport, address_of("/stream", {}, None), last_event_id, reconnect_s)

    def runs(self, *, before: Optional[int] = None, limit: Optional[int] = None) -> RunsAnswer:
        """Stored runs of commands, the newest first; `before` of the answer gives the next page."""
        return cast(RunsAnswer, self._ask("GET", "/runs", query={"before": before, "limit": limit}))

    def run(self, id: int) -> RunAnswer:
        """One stored run, with its report when it has ended."""
        return cast(RunAnswer, self._ask("GET", "/runs/{id}", {"id": id}))

    def logs(self, name: str, *, lines: Optional[int] = None) -> List[LogLine]:
        """The last lines of a plugin's log; 100, at most 10,000."""
        return cast("List[LogLine]", self._ask("GET", "/plugins/{name}/logs", {"name": name}, query={"lines": lines}))

    def denials(self, name: str) -> List[Denial]:
        """What was refused, each with the grant that would allow it."""
        return cast("List[Denial]", self._ask("GET", "/plugins/{name}/denials", {"name": name}))

    def activity(self, name: str, *, limit: Optional[int] = None) -> AuditPage:
        """What is recorded of a plugin, the last first."""
        return cast(AuditPage, self._ask("GET", "/plugins/{name}/activity", {"name": name}, query={"limit": limit}))

    def resources(self, name: str, *, limit: Optional[int] = None) -> List[ResourceSample]:
        """What a plugin has used lately."""
        return cast("List[ResourceSample]", self._ask("GET", "/plugins/{name}/resources", {"name": name}, query={"limit": limit}))

    def executions(self, *, plugin: Optional[str] = None, before: Optional[int] = None, limit: Optional[int] = None) -> ExecutionPage:
        """Recorded calls, the last first."""
        return cast(ExecutionPage, self._ask("GET", "/executions", query={"plugin": plugin, "before": before, "limit": limit}))

    def audit(self, *, plugin: Optional[str] = None, event: Optional[str] = None, correlation_id: Optional[str] = None,
              since_ms: Optional[int] = None, after: Optional[int] = None, newest_first: bool = False,
              limit: Optional[int] = None) -> AuditPage:
        """A page of the audit trail; `after` is the `seq` of the last record of the page before."""
        return cast(AuditPage, self._ask("GET", "/audit", query={
            "plugin": plugin, "event": event, "correlation_id": correlation_id, "since_ms": since_ms, "after": after,
            "newest_first": newest_first, "limit": limit}))

    def verify_audit(self) -> AuditVerdict:
        """Whether the audit trail is as it was written."""
        return cast(AuditVerdict, self._ask("GET", "/audit/verify", timeout=ACT_TIMEOUT_S))

    def health(self) -> HealthAnswer:
        """How the host is; with the reasons for whoever has a token or needs none."""
        return cast(HealthAnswer, self._ask("GET", "/health"))

    def metrics(self) -> str:
        """Figures in the text format of Prometheus."""
        return cast(str, self._ask("GET", "/metrics"))

    def tokens(self) -> List[TokenInfo]:
        """All tokens, without their secrets."""
        return cast("List[TokenInfo]", self._ask("GET", "/tokens"))

    def create_token(self, role: Role, *, plugin: Optional[str] = None, expires_in_s: Optional[int] = None) -> CreatedToken:
        """Makes a token, whose text is in the answer and nowhere else."""
        body: Dict[str, Any] = {"role": role}
        body.update({name: value for name, value in (("plugin", plugin), ("expires_in_s", expires_in_s)) if value is not None})
        return cast(CreatedToken, self._ask("POST", "/tokens", None, body))

    def revoke_token(self, id: str) -> None:
        """Takes a token back at once."""
        self._ask("DELETE", "/tokens/{id}", {"id": id})

    def dashboard_link(self) -> DashboardLink:
        """An address that opens the dashboard once, for a browser; at the socket of a daemon of one's own alone."""
        return cast(DashboardLink, self._ask("POST", "/dashboard/links"))

    # ---- how it is asked --------------------------------------------------------------------------------------------

    def _answer(self, method: str, path: str, parameters: Optional[Mapping[str, Any]] = None, body: Any = None, *,
                query: Optional[Mapping[str, Any]] = None, headers: Mapping[str, str] = {}, timeout: float = LOOK_TIMEOUT_S) -> Answer:
        return self._transport.ask(method, address_of(path, parameters or {}, query), body, headers, timeout)

    def _ask(self, method: str, path: str, parameters: Optional[Mapping[str, Any]] = None, body: Any = None, *,
             query: Optional[Mapping[str, Any]] = None, timeout: float = LOOK_TIMEOUT_S) -> Any:
        return self._answer(method, path, parameters, body, query=query, timeout=timeout).document

    def _once(self, method: str, path: str, parameters: Mapping[str, Any], body: Any, key: Optional[str], timeout: float) -> Any:
        key = key or uuid.uuid4().hex
        try:
            return self._answer(method, path, parameters, body, headers={"Idempotency-Key": key}, timeout=timeout).document
        except RingfenceError as error:
            error.idempotency_key = key
            raise

    def _change_grants(self, name: str, change: "Callable[[List[str]], List[str]]") -> "Versioned[List[GrantInfo]]":
        for attempt in range(1, CHANGE_TRIES + 1):
            held = self.grants(name)
            # Looked at after the version was taken: an upgrade that comes later makes that version too old.
            if self.show(name)["pending"] is not None:
                raise made("conflict", "an upgrade of %s waits for consent, which this would carry out" % name,
                           "say with set_grants all that the new version shall have")
            wanted = change([one["permission"] for one in held.value])
            try:
                return self.set_grants(name, wanted, version=held.version)
            except Conflict as error:
                if error.code != "conflict" or attempt == CHANGE_TRIES:
                    raise
        raise AssertionError("unreachable")

    def _path(self, path: "Union[str, os.PathLike[str]]") -> str:
        text = os.fspath(path)
        return os.path.abspath(text) if self._transport.where.startswith("unix:") else text


def _consent(grant: Optional[Sequence[str]], requested: bool) -> Dict[str, Any]:
    given: Dict[str, Any] = {"grant_requested": True} if requested else {}
    if grant is not None:
        given["grant"] = _texts(grant)
    return given


def _texts(texts: Sequence[str]) -> List[str]:
    """A list; one text alone would be taken for its letters."""
    if isinstance(texts, (str, bytes)):
        raise TypeError("expected a list of texts, not %r" % (texts,))
    return [os.fspath(text) for text in texts]


def _if_match(version: Optional[str]) -> Dict[str, str]:
    return {} if version is None else {"If-Match": version}


def _versioned(answer: Answer) -> "Versioned[Any]":
    return Versioned(answer.document, answer.headers.get("ETag") or "")


def _timeout_ms(timeout: Optional[float]) -> Dict[str, int]:
    return {} if timeout is None else {"timeout_ms": max(1, round(timeout * 1000))}


def _patience(timeout: Optional[float]) -> float:
    return ACT_TIMEOUT_S if timeout is None else timeout + MARGIN_S
