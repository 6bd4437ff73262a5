"""How a decorated tool takes the arguments object: whole, or as named parameters."""

from .errors import InvalidArguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

_WHOLE_NAMES = ("arguments", "args", "params")
_WHOLE_TYPES = ("dict", "Dict", "Mapping", "MutableMapping", "Any", "object")


def parameters(function: "Any") -> "Optional[Tuple[List[str], List[str], bool]]":
    """Names of the parameters, of those without a default, and whether any other name is taken. None: not Python."""
    plain = getattr(function, "__func__", function)
    plain = getattr(plain, "__wrapped__", plain)
    code = getattr(plain, "__code__", None)
    if code is None:
        return None
    bound = 1 if hasattr(function, "__self__") else 0
    names = list(code.co_varnames[bound:code.co_argcount])
    optional = len(plain.__defaults__ or ())
    required = names[:len(names) - optional] if optional else list(names)
    keyword_only = code.co_varnames[code.co_argcount:code.co_argcount + code.co_kwonlyargcount]
    defaults = plain.__kwdefaults__ or {}
    names += keyword_only
    required += [name for name in keyword_only if name not in defaults]
    return names, required, bool(code.co_flags & 0x08)


def takes_whole(function: "Any") -> bool:
    """Whether the one parameter of a function is the arguments object itself."""
    known = parameters(function)
    if known is None:
        return True
    names, _, others = known
    if len(names) != 1 or others:
        return False
    plain = getattr(function, "__func__", function)
    annotation = getattr(plain, "__annotations__", {}).get(names[0])
    if annotation is None:
        mark = getattr(plain, "__ringfence_tool__", None) or {}
        declared = (mark.get("input_schema") or {}).get("properties")
        return names[0] in _WHOLE_NAMES or (declared is not None and names[0] not in declared)
    if not isinstance(annotation, str):
        if hasattr(annotation, "__total__"):  # a TypedDict
            return True
        annotation = getattr(annotation, "__name__", None) or getattr(annotation, "_name", None) or str(annotation)
    return annotation.split("[")[0].rpartition(".")[2] in _WHOLE_TYPES


def spread(function: "Callable[..., Any]") -> "Callable[[Dict[str, Any]], Any]":
    """The function as one that takes the arguments object."""
    known = parameters(function)
    if known is None or takes_whole(function):
        return function
    names, required, others = known

    def call(arguments: "Dict[str, Any]") -> "Any":
        for name in required:
            if name not in arguments:
                raise InvalidArguments("the argument " + name + " is missing")
        if not others:
            for name in arguments:
                if name not in names:
                    raise InvalidArguments("there is no argument " + str(name)[:100])
        return function(**arguments)

    return call
