"""`ringfence.host`: what a plugin may ask of its host. Plain functions, for any thread and for async code.

Each waits for the host, at most as long as the call in progress may take; in async code, `await asyncio.to_thread(...)`
keeps the event loop free meanwhile. Each raises PermissionDenied when no grant covers it, NotSupported when this host
does not offer it, Timeout, Cancelled, or another HostError (`quota`, `too_large`, `busy`).
"""

from . import _runner
from .errors import HostError, from_wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Literal, Mapping, Optional, Sequence, Tuple, Union, overload

    from ._engine import Call
    from ._http import HttpStream


class Host:
    """The host of this process. There is one: `ringfence.host`."""

    # ---- the process and the call in progress ------------------------------------------------------------------------

    @property
    def available(self) -> bool:
        """Whether this code runs inside a plugin; false in an editor or a plain test."""
        return _runner.SESSION is not None

    @property
    def plugin_name(self) -> str:
        """The plugin's name, as its manifest has it."""
        return str((self._parameter("plugin") or {}).get("name", ""))

    @property
    def permissions(self) -> "List[str]":
        """What was granted, such as `file:read=/srv/notes/**`."""
        return list(self._parameter("permissions") or ())

    @property
    def config(self) -> "Dict[str, Any]":
        """The configuration as last told; `get_config` asks again."""
        return dict(self._parameter("config") or {})

    @property
    def limits(self) -> "Dict[str, Any]":
        """The limits that hold, such as `memory_bytes`."""
        return dict(self._parameter("limits") or {})

    @property
    def data_dir(self) -> str:
        """The plugin's private directory: always readable and writable, within quota."""
        return str(self._parameter("data_dir") or "")

    def deadline_left(self) -> "Optional[float]":
        """Seconds the call in progress may still take, at least 0; None without a call or a deadline."""
        call = self._call()
        if call is None or call.deadline is None:
            return None
        import time

        return max(call.deadline - time.monotonic(), 0.0)

    def cancelled(self) -> bool:
        """Whether whoever made the call in progress no longer wants it. Then return soon, or raise `Cancelled`."""
        call = self._call()
        return call is not None and call.cancelled

    def correlation_id(self) -> "Optional[str]":
        """What ties together all records of one piece of work, in the log and the audit."""
        call = self._call()
        return call.correlation if call is not None else None

    def progress(self, done: float, total: "Optional[float]" = None, message: "Optional[str]" = None) -> None:
        """Tells how far the call in progress is. Does nothing outside a call. It never extends a deadline."""
        call = self._call()
        if call is None:
            return
        params: "Dict[str, Any]" = {"id": call.id, "progress": done}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        self._session().engine.notify("$/progress", params, call)

    def log(self, level: str, message: str, **fields: "Any") -> None:
        """A line in the plugin's log. Levels: debug, info, warning, error. Fields are JSON values."""
        if level not in ("debug", "info", "warning", "error"):
            raise ValueError("a level is debug, info, warning or error, not " + repr(level))
        params: "Dict[str, Any]" = {"level": level, "message": message}
        if fields:
            params["fields"] = fields
        self._session().engine.notify("log", params, self._call())

    # ---- the plugin's own data ---------------------------------------------------------------------------------------

    def store_plugin_data(self, key: str, value: "Any") -> None:
        """Keeps a JSON value under a key, over restarts and upgrades. `quota` when the store is full."""
        self._ask("store_plugin_data", {"key": key, "value": value})

    def load_plugin_data(self, key: str, default: "Any" = None) -> "Any":
        """The value under a key, or `default`."""
        result = self._ask("load_plugin_data", {"key": key})
        return result.get("value") if result.get("found") else default

    def delete_plugin_data(self, key: str) -> bool:
        """Forgets a key; whether there was one."""
        return bool(self._ask("delete_plugin_data", {"key": key}).get("deleted"))

    def list_plugin_data(self, prefix: str = "", limit: "Optional[int]" = None,
                         after: "Optional[str]" = None) -> "Tuple[List[str], bool]":
        """Keys with a prefix, in order, from behind `after`; and whether there are more."""
        params: "Dict[str, Any]" = {"prefix": prefix}
        if limit is not None:
            params["limit"] = limit
        if after is not None:
            params["after"] = after
        result = self._ask("list_plugin_data", params)
        return list(result.get("keys") or ()), bool(result.get("more"))

    def get_config(self) -> "Dict[str, Any]":
        """The configuration as it is now."""
        return dict(self._ask("get_config", {}).get("config") or {})

    def set_config(self, config: "Mapping[str, Any]") -> None:
        """Replaces the plugin's own configuration, which must fit the plugin's schema. Needs `config:write`."""
        self._ask("set_config", {"config": config})

    # ---- brokered by the host, each under its permission -------------------------------------------------------------

    def request(self, method: str, params: "Optional[Mapping[str, Any]]" = None, *,
                timeout_s: "Optional[float]" = None) -> "Any":
        """Any request by its name, such as a method of the host application's own (`x_crm_export`): its result."""
        return self._result(method, dict(params or {}), timeout_s)

    if TYPE_CHECKING:
        @overload
        def http_fetch(self, url: str, *, method: str = "GET", headers: "Optional[Mapping[str, str]]" = None,
                       body: "Union[str, bytes, None]" = None, timeout_s: "Optional[float]" = None,
                       max_bytes: "Optional[int]" = None, stream: "Literal[False]" = False) -> "Dict[str, Any]": ...

        @overload
        def http_fetch(self, url: str, *, method: str = "GET", headers: "Optional[Mapping[str, str]]" = None,
                       body: "Union[str, bytes, None]" = None, timeout_s: "Optional[float]" = None,
                       max_bytes: "Optional[int]" = None, stream: "Literal[True]") -> "HttpStream": ...

    def http_fetch(self, url: str, *, method: str = "GET", headers: "Optional[Mapping[str, str]]" = None,
                   body: "Union[str, bytes, None]" = None, timeout_s: "Optional[float]" = None,
                   max_bytes: "Optional[int]" = None, stream: bool = False) -> "Any":
        """`{status, headers, body, url}`; a body that is not UTF-8 text comes as bytes, `url` is where it comes from after
        redirects. `too_large` above `max_bytes`, which cannot raise the host's own limit. Needs `network:request`.

        With `stream=True` an `HttpStream` as soon as the headers are there; its body is read piece by piece, and may be as large
        as 1 GiB. `busy` above 8 of them.
        """
        params: "Dict[str, Any]" = {"url": url, "method": method}
        if headers is not None:
            params["headers"] = dict(headers)
        if body is not None:
            params.update(_content("body", body))
        if max_bytes is not None:
            params["max_bytes"] = max_bytes
        if stream:
            from ._http import HttpStream

            return HttpStream(self, self._ask("http_fetch", dict(params, stream=True), timeout_s))
        result = dict(self._ask("http_fetch", params, timeout_s))
        result["body"] = _bytes_or_text(result, "body")
        result.pop("body_base64", None)
        return result

    def read_file(self, path: str) -> "Union[str, bytes]":
        """A file's content: text when it is UTF-8, else bytes. Needs `file:read`.

        Paths are absolute, or relative to the package. `not_found`, `too_large` (beside PermissionDenied) tell why not.
        """
        return _bytes_or_text(self._ask("read_file", {"path": path}), "content")

    def write_file(self, path: str, content: "Union[str, bytes]") -> None:
        """Replaces a file in one step, or makes it. Needs `file:write`; `quota` when the data directory is full."""
        self._ask("write_file", dict(_content("content", content), path=path))

    def delete_file(self, path: str) -> bool:
        """Removes a file or a link; whether there was one. Needs `file:delete`."""
        return bool(self._ask("delete_file", {"path": path}).get("deleted"))

    def list_files(self, path: str) -> "List[Dict[str, Any]]":
        """`{name, kind, size_bytes}` of each entry of a directory. Needs `file:read`.

        A name that is not UTF-8 comes as bytes. Links are not followed; entries that may not be read are left out.
        """
        entries = [dict(entry) for entry in self._ask("list_files", {"path": path}).get("entries") or ()]
        for entry in entries:
            entry["name"] = _bytes_or_text(entry, "name")
            entry.pop("name_base64", None)
        return entries

    def run_process(self, command: "Sequence[str]", *, timeout_s: "Optional[float]" = None) -> "Dict[str, Any]":
        """Runs a program in a sandbox of this plugin's grants: `{exit_code, stdout, stderr}`. Needs `subprocess:execute`.

        Output that is not UTF-8 text comes as bytes. `violation` says which limit ended the program, such as `timeout` after
        `timeout_s`; `signal` the signal that did, and `exit_code` is None then.
        """
        params: "Dict[str, Any]" = {"command": list(command)}
        if timeout_s is not None:
            params["timeout_s"] = timeout_s
        result = dict(self._ask("run_process", params))
        for name in ("stdout", "stderr"):
            result[name] = _bytes_or_text(result, name)
            result.pop(name + "_base64", None)
        return result

    def query_database(self, database: str, sql: str,
                       parameters: "Union[Sequence[Any], Mapping[str, Any]]" = ()) -> "List[Dict[str, Any]]":
        """Rows of a query, each an object: None, int, float, str or bytes. Needs `database:read`.

        `parameters` is a list for `?`, or a mapping for `:name`; its values are never read as SQL.
        """
        params = {"database": database, "sql": sql, "parameters": _sql_parameters(parameters)}
        rows = self._ask("query_database", params).get("rows") or ()
        return [{name: from_sql(value) for name, value in row.items()} for row in rows]

    def execute_database(self, database: str, sql: str,
                         parameters: "Union[Sequence[Any], Mapping[str, Any]]" = ()) -> int:
        """Runs one INSERT, UPDATE or DELETE: how many rows it changed. Needs `database:write` for the tables that it
        changes, and `database:read` for those whose values it looks at, in a WHERE for example.
        """
        params = {"database": database, "sql": sql, "parameters": _sql_parameters(parameters)}
        return int(self._ask("execute_database", params).get("rows_affected") or 0)

    def post_event(self, topic: str, payload: "Any" = None) -> None:
        """Sends an event to the host and to plugins that listen. Needs `event:post`."""
        self._ask("post_event", {"topic": topic, "payload": payload})

    def get_user_profile(self, fields: "Optional[Sequence[str]]" = None) -> "Dict[str, Any]":
        """The user on whose behalf the call in progress runs: these fields, or all that are granted.

        Each needs `profile:read`; sensitive ones, such as `email`, a grant by their name.
        """
        return dict(self._ask("get_user_profile", {} if fields is None else {"fields": list(fields)}))

    def register_hook(self, event: str, *, kind: str = "observer", priority: int = 50,
                      timeout_ms: "Optional[int]" = None, on_failure: "Optional[str]" = None) -> None:
        """Asks to be called at an event from now on. Needs `hook:register`; nothing beyond the manifest is allowed."""
        params: "Dict[str, Any]" = {"event": event, "kind": kind, "priority": priority}
        if timeout_ms is not None:
            params["timeout_ms"] = timeout_ms
        if on_failure is not None:
            params["on_failure"] = on_failure
        self._ask("register_hook", params)

    # ------------------------------------------------------------------------------------------------------------------

    @staticmethod
    def _session() -> "_runner.Session":
        if _runner.SESSION is None:
            raise HostError("there is no host here: run the plugin with `ringfence dev`, or test it with "
                            "ringfence.testing.PluginHarness", code="not_ready", number=-31009)
        return _runner.SESSION

    def _parameter(self, name: str) -> "Any":
        return self._session().parameters.get(name)

    @staticmethod
    def _call() -> "Optional[Call]":
        return _runner.SESSION.engine.call_in_progress() if _runner.SESSION is not None else None

    def _ask(self, method: str, params: "Dict[str, Any]", timeout_s: "Optional[float]" = None) -> "Dict[str, Any]":
        result = self._result(method, params, timeout_s)
        return result if isinstance(result, dict) else {}

    def _beside_call(self, method: str, params: "Dict[str, Any]", timeout_s: float) -> "Any":
        """Asks also when the call in progress has been cancelled or has no time left: to let go of what it holds."""
        return self._result(method, params, timeout_s, False)

    def _result(self, method: str, params: "Dict[str, Any]", timeout_s: "Optional[float]" = None,
                within_call: bool = True) -> "Any":
        try:
            answer = self._session().engine.request(method, params, timeout_s, within_call)
        except OverflowError as error:
            raise HostError(str(error), code="too_large", number=-31005) from None
        if answer.error is not None:
            raise from_wire(answer.error)
        return answer.result


def _content(name: str, content: "Union[str, bytes]") -> "Dict[str, str]":
    if isinstance(content, str):
        return {name: content}
    import binascii

    return {name + "_base64": binascii.b2a_base64(content, newline=False).decode("ascii")}


def _sql_parameters(parameters: "Union[Sequence[Any], Mapping[str, Any]]") -> "Any":
    if hasattr(parameters, "items"):
        return {name: to_sql(value) for name, value in parameters.items()}  # type: ignore[union-attr]
    return [to_sql(value) for value in parameters]


_SAFE_INTEGER = 2**53 - 1


def to_sql(value: "Any") -> "Any":
    """A value as it travels: what JSON has no exact form for is an object with one member. NaN is NULL, as in SQLite."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"base64": _content("_", bytes(value))["__base64"]}
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return {"real": "inf" if value > 0 else "-inf"}
    if isinstance(value, int) and not -_SAFE_INTEGER <= value <= _SAFE_INTEGER:
        return {"integer": str(value)}
    return value


def from_sql(value: "Any") -> "Any":
    """The value that has travelled."""
    if not isinstance(value, dict):
        return value
    if "integer" in value:
        return int(value["integer"])
    if "real" in value:
        return float(value["real"])
    import binascii

    return binascii.a2b_base64(value.get("base64", ""))


def _bytes_or_text(result: "Mapping[str, Any]", name: str) -> "Union[str, bytes]":
    encoded = result.get(name + "_base64")
    if isinstance(encoded, str):
        import binascii

        return binascii.a2b_base64(encoded)
    return str(result.get(name, ""))


host = Host()
