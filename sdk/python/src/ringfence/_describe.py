"""`--describe`: imports a plugin and prints what its code declares, as one JSON document."""

import posix
import sys

from . import _codec
from ._plugin import Loaded, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional


def describe_plugin(writer: int, package: str, entry_point: str, types: "Optional[str]") -> int:
    """Writes `{tools, hooks, class_found, bases, error?}` to the descriptor. The status is 0 also when it has `error`."""
    document: "Dict[str, Any]" = {"tools": [], "hooks": [], "class_found": False, "bases": []}
    try:
        plugin = load(package, entry_point, types)
        _fill(document, plugin)
    except BaseException as error:  # noqa: B902 - whatever the import does, a document comes out
        import traceback

        traceback.print_exc()
        if isinstance(error, SystemExit):
            document["error"] = "the plugin called exit(" + repr(error.code) + ") while it was imported"
        else:
            document["error"] = (type(error).__name__ + ": " + str(error))[:4000]
        document["error"] = document["error"].encode("utf-8", "backslashreplace").decode()
    try:
        text = _codec.encode(document)
    except (TypeError, ValueError, RecursionError) as error:
        text = _codec.encode({"tools": [], "hooks": [], "class_found": False, "bases": [],
                              "error": "a declaration is not JSON: " + str(error)})
    data = (text + "\n").encode("utf-8")
    while data:
        data = data[posix.write(writer, data):]
    sys.stderr.flush()
    posix._exit(0)  # Threads that the import started must not keep the process.


def _fill(document: "Dict[str, Any]", plugin: Loaded) -> None:
    from ._schema import declaration

    if plugin.found is not None:
        document["class_found"] = True
        document["bases"] = [base.__module__ + "." + base.__qualname__
                             for base in plugin.found.__mro__[1:] if base is not object]
        # A description makes no object: a constructor may want a configuration that nobody has given yet.
        plugin.target = plugin.found
    plugin.collect()
    tools = plugin.tools.values()
    document["tools"] = [declaration(_bound(plugin, function), mark) for function, mark in tools]
    document["hooks"] = [mark for _, mark in plugin.hooks.values()]


def _bound(plugin: Loaded, function: "Any") -> "Any":
    if plugin.found is None or hasattr(function, "__self__"):
        return function
    owner = plugin.found
    if isinstance(vars(owner).get(function.__name__), staticmethod):
        return function
    return function.__get__(object.__new__(owner), owner)
