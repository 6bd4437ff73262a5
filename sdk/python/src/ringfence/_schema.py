"""JSON Schema (2020-12) from the annotations of a function. Only `--describe` imports this."""

import enum
import typing
from typing import Any, Dict, List, Optional, Tuple, Union

from ._arguments import parameters, takes_whole

_PLAIN: Dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null",
                          list: "array", tuple: "array", dict: "object"}


def declaration(function: Any, mark: Dict[str, Any]) -> Dict[str, Any]:
    """The ToolDeclaration of a decorated function."""
    result: Dict[str, Any] = {"name": mark["name"]}
    text = mark["description"] or (function.__doc__ or "").strip().split("\n\n")[0]
    if text:
        result["description"] = " ".join(text.split())
    inputs = mark["input_schema"] or _inputs(function)
    if inputs is not None:
        result["input_schema"] = inputs
    outputs = mark["output_schema"]
    if outputs is None:
        returned = _hints(function).get("return", Any)
        if returned is not Any and returned is not type(None):
            outputs = schema(returned)
    if outputs:
        result["output_schema"] = outputs
    return result


def _hints(function: Any) -> Dict[str, Any]:
    try:
        if hasattr(typing, "Annotated"):
            return typing.get_type_hints(function, include_extras=True)
        return typing.get_type_hints(function)
    except Exception:  # names that exist only for type checkers
        return {}


def _inputs(function: Any) -> Optional[Dict[str, Any]]:
    known = parameters(function)
    if known is None:
        return None
    names, required, others = known
    hints = _hints(function)
    if takes_whole(function):
        whole = schema(hints.get(names[0], dict))
        return whole if "properties" in whole else None
    properties = {name: schema(hints.get(name, Any)) for name in names}
    for name, value in _defaults(function).items():
        if value is None or isinstance(value, (str, int, float, bool)):
            properties[name] = dict(properties[name], default=value)
    result: Dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        result["required"] = required
    if not others:
        result["additionalProperties"] = False
    return result


def _defaults(function: Any) -> Dict[str, Any]:
    plain = getattr(function, "__func__", function)
    code, defaults = plain.__code__, plain.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(defaults):code.co_argcount]
    return {**dict(zip(names, defaults)), **(plain.__kwdefaults__ or {})}


def schema(kind: Any) -> Dict[str, Any]:
    """The schema of one annotation; an empty one, which allows all, for what JSON does not know."""
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Union or type(kind).__name__ == "UnionType":
        return _union([schema(one) for one in arguments])
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin is not None and hasattr(kind, "__metadata__"):  # Annotated
        texts = [one for one in kind.__metadata__ if isinstance(one, str)]
        extra: Dict[str, Any] = {}
        for one in kind.__metadata__:
            if isinstance(one, dict):
                extra.update(one)
        return {**schema(kind.__origin__), **({"description": texts[0]} if texts else {}), **extra}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [one.value for one in kind]}
    if hasattr(kind, "__total__"):
        return _typed_dict(kind)
    return _container(origin, arguments)


def _container(origin: Any, arguments: Tuple[Any, ...]) -> Dict[str, Any]:
    if isinstance(origin, type) and issubclass(origin, dict) or getattr(origin, "__name__", "") == "Mapping":
        values = schema(arguments[1]) if len(arguments) == 2 else {}
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
    if isinstance(origin, type) and (issubclass(origin, (list, tuple)) or origin.__name__ in ("Sequence", "Iterable")):
        items = schema(arguments[0]) if arguments and (len(arguments) == 1 or arguments[1] is ...) else {}
        return {"type": "array", "items": items} if items else {"type": "array"}
    return {}


def _union(members: List[Dict[str, Any]]) -> Dict[str, Any]:
    if {} in members:
        return {}
    if all(set(one) == {"type"} for one in members):
        return {"type": [one["type"] for one in members]}
    return {"anyOf": members}


def _typed_dict(kind: Any) -> Dict[str, Any]:
    properties = {name: schema(value) for name, value in _hints(kind).items()}
    required = sorted(getattr(kind, "__required_keys__", properties))
    result: Dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        result["required"] = required
    return result
