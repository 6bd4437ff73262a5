"""Turns what a plugin raised into the error of one call. Imported at the first failure only."""

import re
import sys
import traceback

from ._plugin import LoadError
from .errors import Cancelled, HostError, InvalidArguments, PermissionDenied, PluginError, Timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Dict, Optional, Tuple

    from ._engine import Call, Engine

MESSAGE_MAX_CHARS = 4000
"""Longest text of an exception in an answer; the log has all of it."""


def report(engine: "Engine", call: "Call", error: BaseException) -> None:
    """Answers `call` with what `error` means."""
    number, message, data = _explain(call, error)
    if number == -31008:
        _log(error)
    try:
        engine.fail(call, number, message[:MESSAGE_MAX_CHARS], data)
    except (TypeError, ValueError, RecursionError, OverflowError):
        engine.fail(call, number, message[:MESSAGE_MAX_CHARS], {"code": "plugin_failed", "type": type(error).__name__})


def report_result(engine: "Engine", call: "Call", error: Exception) -> None:
    """Answers `call` when its result cannot be sent."""
    if isinstance(error, OverflowError):
        text = "the result is too large: " + str(error)
        engine.fail(call, -31005, text, {"code": "too_large"})
        return
    why = "it contains itself or is nested too deep" if isinstance(error, RecursionError) else str(error)
    if isinstance(error, UnicodeEncodeError):
        why = "a text has half a surrogate pair, which is not Unicode"
    sys.stderr.write("a result is not JSON: " + why[:MESSAGE_MAX_CHARS] + "\n")
    data = {"code": "plugin_failed", "type": type(error).__name__}
    engine.fail(call, -31008, "the result is not JSON: " + why[:MESSAGE_MAX_CHARS], data)


def _explain(call: "Call", error: BaseException) -> "Tuple[int, str, Dict[str, Any]]":
    name = type(error).__name__
    if isinstance(error, Cancelled) or (call.cancelled and name == "CancelledError"):
        return -31002, "cancelled", {"code": "cancelled"}
    if isinstance(error, Timeout):
        return -31003, str(error), {"code": "timeout"}
    if isinstance(error, InvalidArguments):
        return -32602, str(error), {"code": "invalid_params"}
    if isinstance(error, PluginError):
        return error.code, str(error), {"type": name, "data": error.data}
    data: "Dict[str, Any]" = {"code": "plugin_failed", "type": name}
    if isinstance(error, SystemExit):
        where = " while it started" if call.method == "initialize" else ""
        return -31008, "the plugin called exit(" + _short(error.code) + ")" + where, data
    if isinstance(error, LoadError):
        return -31008, str(error), data
    if isinstance(error, PermissionDenied):
        data.update(layer=error.layer, operation=error.operation, object=error.object, grant=error.grant)
    elif isinstance(error, HostError):
        data["host_code"] = error.code
    elif isinstance(error, OSError):
        data.update(_file_error(error))
    elif isinstance(error, SyntaxError) and error.filename:
        return -31008, name + ": " + str(error.msg) + " (" + str(error.filename) + ":" + str(error.lineno) + ")", data
    return -31008, name + ": " + _text(error) if _text(error) else name, data


def _short(value: "Any") -> str:
    return "" if value is None else repr(value)[:100]


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: B902 - a plugin's __str__ may do anything
        return ""


def _log(error: BaseException) -> None:
    try:
        # The runner's own frames say nothing to an author.
        frames = error.__traceback__
        while frames is not None and "/ringfence/_" in frames.tb_frame.f_code.co_filename:
            frames = frames.tb_next
        sys.stderr.write("".join(traceback.format_exception(type(error), error, frames or error.__traceback__)))
        sys.stderr.flush()
    except BaseException:  # noqa: B902 - a log that cannot be written must not lose the answer
        return


# ---- which file, and what was tried with it ----------------------------------------------------------------------------

_FUNCTIONS = {
    "unlink": "delete", "remove": "delete", "rmdir": "delete", "rmtree": "delete", "removedirs": "delete",
    "mkdir": "write", "makedirs": "write", "touch": "write", "write_text": "write", "write_bytes": "write",
    "chmod": "write", "symlink_to": "write", "rename": "delete", "replace": "delete", "truncate": "write",
    "listdir": "read", "scandir": "read", "iterdir": "read", "stat": "read", "read_text": "read", "read_bytes": "read",
}
_CALL = re.compile(r"\b(" + "|".join(_FUNCTIONS) + r")\s*\(")
_WRITES = re.compile(r"""open\s*\(.*['"][rbt]*[wax+][rwabxt+]*['"]|O_(?:WRONLY|RDWR|CREAT)""")


def _file_error(error: OSError) -> "Dict[str, str]":
    """`{operation, object}` for an error about a file: the kernel says the file, the code tells what was tried."""
    if isinstance(error.filename, bytes):
        path = error.filename.decode("utf-8", "backslashreplace")
    elif isinstance(error.filename, str):
        path = error.filename
    else:
        return {}
    last: "Optional[FrameType]" = None
    operation: "Optional[str]" = None
    frames = error.__traceback__
    line = 0
    while frames is not None:
        if frames.tb_frame.f_code.co_filename.endswith("/ringfence/testing_guard.py"):
            break  # the harness refused in the kernel's place; what was tried is one frame further out
        last, line = frames.tb_frame, frames.tb_lineno
        name = last.f_code.co_name
        if name in _FUNCTIONS and "/ringfence/_" not in last.f_code.co_filename and last.f_code.co_filename[-3:] == ".py":
            if last.f_globals.get("__name__", "") in ("os", "pathlib", "pathlib._local", "shutil"):
                operation = _FUNCTIONS[name]
        frames = frames.tb_next
    if operation is None and last is not None:
        operation = _operation(last, line)
    if not path.startswith("/"):
        import posix

        try:
            path = posix.getcwd() + "/" + path
        except OSError:
            pass
    return {"operation": operation or "read", "object": path}


def _operation(frame: "FrameType", line: int) -> str:
    mode = frame.f_locals.get("mode") if frame.f_code.co_name == "open" else None
    if isinstance(mode, str):
        return "write" if any(letter in mode for letter in "wax+") else "read"
    import linecache

    text = linecache.getline(frame.f_code.co_filename, line)
    called = _CALL.search(text)
    if called is not None:
        return _FUNCTIONS[called.group(1)]
    return "write" if _WRITES.search(text) else "read"
