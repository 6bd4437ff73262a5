"""A host in memory: grants, data, configuration, files, the web, databases and processes, as far as a test needs them."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from ._host import from_sql, to_sql

Answer = Optional[Dict[str, Any]]

SENSITIVE_FIELDS = frozenset((
    "address", "birth_date", "driver_license_number", "email", "id_number", "national_id", "passport_number", "phone",
    "social_security_number", "tax_id",
))
"""What no wildcard over `profile:read` opens, unless a host application says otherwise."""

DATA_MAX_BYTES = 1_000_000
"""Quota of the fake store, in bytes of JSON."""
STREAMS_MAX = 8
"""Bodies that a plugin reads piece by piece at once."""
PIECE_MAX_BYTES = 64 * 1024
"""The largest piece of such a body."""


class FakeHost:
    """What the plugin under test may do, and what it did.

    - `files`: path to text or bytes, for `read_file`, `write_file`, `delete_file`, `list_files`
    - `http`: url to `{status, headers, body}`, or a function of the request's params that returns one; a `body` that is a list
      or another iterable of pieces is read piece by piece where the plugin asks for a stream, and joined where it does not
    - `databases`: name to a DB-API connection (such as `sqlite3.connect(":memory:", check_same_thread=False)`)
    - `processes`: a function of the command that returns `{exit_code, stdout, stderr}`
    - `profile`: the user's profile; fields of `SENSITIVE_FIELDS` need a grant by their name
    - `data`: what the key-value store holds
    - `answers`: method to a function of its params that replaces this class's answer; it returns `{"result": ...}`,
      `{"error": ...}` or None for no answer at all

    What a test gave no fake for is `not_supported`, but only after the permission was judged.
    """

    def __init__(self, grants: Sequence[str], config: Mapping[str, Any], *,
                 files: Optional[Mapping[str, Union[str, bytes]]] = None,
                 http: Union[Mapping[str, Mapping[str, Any]], Callable[[Dict[str, Any]], Mapping[str, Any]], None] = None,
                 databases: Optional[Mapping[str, Any]] = None,
                 processes: Optional[Callable[[List[str]], Mapping[str, Any]]] = None,
                 profile: Optional[Mapping[str, Any]] = None, data: Optional[Mapping[str, Any]] = None,
                 answers: Optional[Mapping[str, Callable[[Dict[str, Any]], Answer]]] = None) -> None:
        self.grants: List[str] = list(grants)
        self.config: Dict[str, Any] = dict(config)
        self.files = None if files is None else dict(files)
        self.http = http
        self.databases = databases
        self.processes = processes
        self.profile = profile
        self.data: Dict[str, Any] = dict(data or {})
        self.answers = dict(answers or {})
        self.data_dir = ""
        self.plugin_name = ""
        self._opened = 0
        self._read: Dict[str, Tuple[int, bytes]] = {}
        self.requests: List[Tuple[str, Dict[str, Any]]] = []
        """All that the plugin asked, in order."""
        self.log: List[Dict[str, Any]] = []
        """What came by `log`."""
        self.events: List[Tuple[str, Any]] = []
        """What was posted, as topic and payload."""
        self.denials: List[Dict[str, Any]] = []
        """What was refused for want of a grant."""
        self.hooks: List[Dict[str, Any]] = []
        """What was registered at run time."""
        self.streams: Dict[str, Iterator[bytes]] = {}
        """Bodies that the plugin reads and has neither read to their end nor closed, by their ids."""
        self.cancelled: List[Any] = []
        """Ids of the plugin's own requests that it no longer wanted."""

    def allows(self, permission: str, scope: str) -> bool:
        """Whether a grant covers an object."""
        for grant in self.grants:
            name, _, bounds = grant.partition("=")
            if name == permission and (not bounds or matches(bounds, scope)):
                return True
        return False

    def allows_field(self, field: str) -> bool:
        """Whether a field of the profile is granted: a sensitive one only by its name."""
        return "profile:read=" + field in self.grants or (
            field not in SENSITIVE_FIELDS and self.allows("profile:read", field))

    def _is_own(self, method: str, path: str) -> bool:
        """Whether a file is in the plugin's private directory, which it may always use."""
        return bool(self.data_dir) and method.endswith(("_file", "_files")) and matches(self.data_dir + "/**", path)

    def notified(self, method: str, params: Dict[str, Any]) -> None:
        if method == "log":
            self.log.append(params)
        elif method == "$/cancel":
            self.cancelled.append(params.get("id"))

    def answer(self, method: str, params: Dict[str, Any]) -> Answer:
        """The answer to a request of the plugin."""
        self.requests.append((method, params))
        if method in self.answers:
            return self.answers[method](params)
        act = getattr(self, "_" + method, None)
        if method not in _PERMISSIONS or act is None:
            return _error(-32601, "not_found", "no method " + method)
        permission = _PERMISSIONS[method]
        if method == "get_user_profile":
            for field in params.get("fields") or ():
                if not self.allows_field(field):
                    return self._deny(method, "profile:read", field)
            if not any(grant.partition("=")[0] == permission for grant in self.grants):
                return self._deny(method, "profile:read", "")
        elif permission is not None:
            scope = self.plugin_name if method == "set_config" else _scope(method, params)
            if not self.allows(permission, scope) and not self._is_own(method, scope):
                return self._deny(method, permission, scope)
        result = act(params)
        return result if "error" in result and len(result) == 1 else {"result": result}

    def _deny(self, method: str, permission: str, scope: str) -> Answer:
        grant = permission + "=" + scope if scope else permission
        message = "%s of %s is not granted; %s would allow it" % (method, scope or "anything", grant)
        denial = {"code": "permission_denied", "layer": "host_api", "operation": method, "object": scope or "unknown",
                  "grant": grant, "message": message}
        self.denials.append(denial)
        return {"error": {"code": -31001, "message": message, "data": denial}}

    # ---- one method each ---------------------------------------------------------------------------------------------

    def _store_plugin_data(self, params: Dict[str, Any]) -> Dict[str, Any]:
        after = dict(self.data, **{params["key"]: params.get("value")})
        if len(json.dumps(after)) > DATA_MAX_BYTES:
            return _error(-31006, "quota", "the store is full")
        self.data = after
        return {}

    def _load_plugin_data(self, params: Dict[str, Any]) -> Dict[str, Any]:
        return {"found": params["key"] in self.data, "value": self.data.get(params["key"])}

    def _delete_plugin_data(self, params: Dict[str, Any]) -> Dict[str, Any]:
        return {"deleted": self.data.pop(params["key"], self) is not self}

    def _list_plugin_data(self, params: Dict[str, Any]) -> Dict[str, Any]:
        after = params.get("after")
        keys = sorted((key for key in self.data if key.startswith(params.get("prefix") or "")), key=str.encode)
        keys = [key for key in keys if after is None or key.encode() > str(after).encode()]
        limit = params.get("limit") or 100
        return {"keys": keys[:limit], "more": len(keys) > limit}

    def _get_config(self, _params: Dict[str, Any]) -> Dict[str, Any]:
        return {"config": self.config}

    def _set_config(self, params: Dict[str, Any]) -> Dict[str, Any]:
        self.config = dict(params["config"])
        return {}

    def _post_event(self, params: Dict[str, Any]) -> Dict[str, Any]:
        self.events.append((params["topic"], params.get("payload")))
        return {}

    def _register_hook(self, params: Dict[str, Any]) -> Dict[str, Any]:
        self.hooks.append(params)
        return {}

    def _get_user_profile(self, params: Dict[str, Any]) -> Dict[str, Any]:
        if self.profile is None:
            return _unsupported("get_user_profile")
        fields = params.get("fields")
        return {key: value for key, value in self.profile.items()
                if (self.allows_field(key) if fields is None else key in fields)}

    def _http_fetch(self, params: Dict[str, Any]) -> Dict[str, Any]:
        if self.http is None:
            return _unsupported("http_fetch")
        if callable(self.http):
            found: Optional[Mapping[str, Any]] = self.http(params)
        else:
            found = self.http.get(params["url"])
        if found is None:
            return {"status": 404, "headers": {}, "body": "", "url": params["url"]}
        result = {"status": found.get("status", 200), "headers": dict(found.get("headers", {})), "url": params["url"]}
        body = found.get("body", "")
        if params.get("stream"):
            return self._open(result, body)
        result.update(_content("body", body if isinstance(body, (str, bytes)) else _text(b"".join(map(_encoded, body)))))
        return result

    def _open(self, result: Dict[str, Any], body: Union[str, bytes, Iterable[Union[str, bytes]]]) -> Dict[str, Any]:
        if len(self.streams) >= STREAMS_MAX:
            return _error(-31004, "busy", "%d streams are open, which is the most at once" % STREAMS_MAX)
        self._opened += 1
        stream = "stream-%d" % self._opened
        self.streams[stream] = filter(None, map(_encoded, [body] if isinstance(body, (str, bytes)) else body))
        self._read[stream] = (0, b"")
        return dict(result, stream=stream)

    def _http_fetch_read(self, params: Dict[str, Any]) -> Dict[str, Any]:
        stream, most = params["stream"], min(params.get("max_bytes") or PIECE_MAX_BYTES, PIECE_MAX_BYTES)
        if stream not in self.streams:
            return _error(-32602, "not_found", "there is no stream " + stream)
        offset, held = self._read[stream]
        held = held or next(self.streams[stream], b"")
        piece, held = held[:most], held[most:]
        self._read[stream] = (offset + len(piece), held)
        if not piece:
            del self.streams[stream]
        return dict(_content("body", _text(piece)), offset=offset, done=not piece)

    def _http_fetch_close(self, params: Dict[str, Any]) -> Dict[str, Any]:
        return {"closed": self.streams.pop(params["stream"], None) is not None}

    def _read_file(self, params: Dict[str, Any]) -> Dict[str, Any]:
        if self.files is None:
            return _unsupported("read_file")
        if params["path"] not in self.files:
            return _error(-32602, "not_found", "no file " + params["path"])
        return _content("content", self.files[params["path"]])

    def _write_file(self, params: Dict[str, Any]) -> Dict[str, Any]:
        if self.files is None:
            return _unsupported("write_file")
        encoded = params.get("content_base64")
        self.files[params["path"]] = params.get("content", "") if encoded is None else base64.b64decode(encoded)
        return {}

    def _delete_file(self, params: Dict[str, Any]) -> Dict[str, Any]:
        if self.files is None:
            return _unsupported("delete_file")
        return {"deleted": self.files.pop(params["path"], None) is not None}

    def _list_files(self, params: Dict[str, Any]) -> Dict[str, Any]:
        if self.files is None:
            return _unsupported("list_files")
        folder = params["path"].rstrip("/") + "/"
        entries: Dict[str, Dict[str, Any]] = {}
        for path, content in self.files.items():
            if path.startswith(folder):
                name, deeper, _ = path[len(folder):].partition("/")
                kind = {"name": name, "kind": "directory" if deeper else "file",
                        "size_bytes": 0 if deeper else len(content)}
                entries.setdefault(name, kind)
        return {"entries": [entries[name] for name in sorted(entries)]}

    def _run_process(self, params: Dict[str, Any]) -> Dict[str, Any]:
        return _unsupported("run_process") if self.processes is None else dict(self.processes(params["command"]))

    def _query_database(self, params: Dict[str, Any]) -> Dict[str, Any]:
        cursor = self._execute(params)
        if cursor is None:
            return _unsupported("query_database")
        names = [column[0] for column in cursor.description or ()]
        return {"rows": [dict(zip(names, map(to_sql, row))) for row in cursor.fetchall()]}

    def _execute_database(self, params: Dict[str, Any]) -> Dict[str, Any]:
        cursor = self._execute(params)
        return _unsupported("execute_database") if cursor is None else {"rows_affected": cursor.rowcount}

    def _execute(self, params: Dict[str, Any]) -> Any:
        connection = (self.databases or {}).get(params["database"])
        if connection is None:
            return None
        given = params.get("parameters") or []
        values = {name: from_sql(value) for name, value in given.items()} if isinstance(given, dict) else \
            [from_sql(value) for value in given]
        return connection.execute(params["sql"], values)


_PERMISSIONS: Dict[str, Optional[str]] = {
    "store_plugin_data": None, "load_plugin_data": None, "delete_plugin_data": None, "list_plugin_data": None,
    "get_config": None, "set_config": "config:write", "post_event": "event:post",
    "get_user_profile": "profile:read", "http_fetch": "network:request", "http_fetch_read": None, "http_fetch_close": None,
    "read_file": "file:read", "write_file": "file:write", "delete_file": "file:delete", "list_files": "file:read",
    "run_process": "subprocess:execute", "query_database": "database:read", "execute_database": "database:write",
    "register_hook": "hook:register",
}


def _scope(method: str, params: Mapping[str, Any]) -> str:
    if method == "http_fetch":
        match = re.match(r"(https?)://([^/:?#]+)(?::(\d+))?", str(params.get("url", "")))
        if match is None:
            return ""
        return match.group(2) + ":" + (match.group(3) or ("443" if match.group(1) == "https" else "80"))
    if method == "run_process":
        command = params.get("command") or [""]
        return str(command[0])
    for name in ("path", "database", "event", "topic"):
        if name in params:
            return str(params[name])
    return ""


def matches(pattern: str, text: str) -> bool:
    """Whether a scope covers an object: `*` stays inside a segment, `**` crosses, `DIR/**` includes DIR."""
    if pattern.endswith("/**") and matches(pattern[:-3], text):
        return True
    expression = ""
    for part in re.split(r"(\*\*|\*)", pattern):
        expression += {"**": ".*", "*": "[^/]*" if "/" in pattern else "[^.:]*"}.get(part) or re.escape(part)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def _content(name: str, content: Union[str, bytes]) -> Dict[str, Any]:
    if isinstance(content, str):
        return {name: content}
    return {name + "_base64": base64.b64encode(content).decode("ascii")}


def _encoded(content: Union[str, bytes]) -> bytes:
    return content.encode("utf-8") if isinstance(content, str) else bytes(content)


def _text(content: bytes) -> Union[str, bytes]:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content


def _error(number: int, code: str, message: str) -> Dict[str, Any]:
    return {"error": {"code": number, "message": message, "data": {"code": code, "message": message}}}


def _unsupported(method: str) -> Dict[str, Any]:
    return _error(-31007, "not_supported", "this host does not offer " + method)
