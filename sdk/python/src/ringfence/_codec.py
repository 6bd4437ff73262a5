"""JSON in and out, without the cost of importing `json` (10 ms of a start, all of it for its fallbacks).

The C parts of the standard library are used directly; where they are missing, `json` itself is. Every value that
comes out is strict JSON: no NaN, no lone surrogates, at most DEPTH_MAX levels.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Tuple

MESSAGE_MAX_BYTES = 4 * 1024 * 1024
"""Longest line either side accepts, newline included. Source: docs/protocol.md."""
DEPTH_MAX = 64
"""Deepest nesting of a message, the message itself being level 1. Source: docs/protocol.md."""

_BLANK = " \t\r\n"


def _refuse(value: "Any") -> "Any":
    raise TypeError("a value of type " + type(value).__name__ + " is not JSON")


def _constant(name: str) -> "Any":
    raise ValueError(name + " is not JSON")


class _Scanner:
    """What the C scanner reads its settings from."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_constant)
    memo: "dict[str, str]" = {}


try:
    from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

    _scan: "Callable[[str, int], Tuple[Any, int]]" = make_scanner(_Scanner())  # type: ignore[arg-type]
    _chunks: "Callable[[Any, int], Tuple[str, ...]]" = make_encoder(
        None, _refuse, encode_basestring, None, ":", ",", False, False, False
    )
    _ascii: "Callable[[Any, int], Tuple[str, ...]]" = make_encoder(
        None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, False
    )
    _ascii({"probe": [1, 1.5, None]}, 0)
except (ImportError, TypeError):  # another Python than CPython, or one that changed these
    import json as _json_module

    _scan = _json_module.JSONDecoder(parse_constant=_constant).scan_once  # type: ignore[attr-defined]
    _encode = _json_module.JSONEncoder(
        ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), default=_refuse
    ).encode

    def _chunks(value: "Any", _level: int) -> "Tuple[str, ...]":
        return (_encode(value),)

    _ascii = _chunks


def decode(line: bytes) -> "Any":
    """The value of one line. ValueError when it is not one strict JSON value in UTF-8."""
    text = line.decode("utf-8")
    start = 0
    if text[:1] in _BLANK:
        start = len(text) - len(text.lstrip(_BLANK))
    try:
        value, end = _scan(text, start)
    except (StopIteration, SystemError):
        # The C scanner finds its own exception only after `json.decoder` was imported; without it, SystemError.
        raise ValueError("not JSON") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    if end != len(text) and text[end:].strip(_BLANK):
        raise ValueError("more than one value on a line")
    return value


def encode(value: "Any") -> str:
    """The value as JSON text on one line.

    TypeError, ValueError or RecursionError when it cannot be JSON; ValueError too beyond DEPTH_MAX.
    """
    text = "".join(_ascii(value, 0))
    if "\\u" in text:
        # The ASCII encoder is twice as fast, but its escapes make texts longer, and hide halves of surrogate pairs.
        text = "".join(_chunks(value, 0))
    # A deep text has many brackets. Counting them is cheap in a short one; a long one is mostly texts and numbers.
    if len(text) >= 2 * DEPTH_MAX:
        if len(text) > _COUNT_MAX_CHARS or text.count("[") + text.count("{") >= DEPTH_MAX:
            if _too_deep(value):
                raise ValueError("nested deeper than " + str(DEPTH_MAX - 1) + " levels")
    return text


_COUNT_MAX_CHARS = 16384
_CONTAINERS = (dict, list, tuple)


def _too_deep(value: "Any") -> bool:
    level: "List[Any]" = [value]
    for _ in range(DEPTH_MAX):
        below: "List[Any]" = []
        for item in level:
            members = item.values() if isinstance(item, dict) else item if isinstance(item, _CONTAINERS) else ()
            below += [member for member in members if isinstance(member, _CONTAINERS)]
        if not below:
            return False
        level = below
    return True
