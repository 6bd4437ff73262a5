"""What a host API call raises: all derive from HostError, so one `except` is enough for those who do not care why.

And PluginError, which a plugin raises itself.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Optional


class HostError(Exception):
    """The host refused or could not do what was asked.

    `code` is the stable word (`quota`, `busy`, ...), `number` the JSON-RPC error number, `data` all that the host said.
    """

    def __init__(self, message: str, *, code: str = "internal", number: int = -32603,
                 data: "Optional[Mapping[str, Any]]" = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.number = number
        self.data: "Mapping[str, Any]" = data if data is not None else {}


class PermissionDenied(HostError):
    """No grant covers the act. `grant` is the text that would, ready for `ringfence grant PLUGIN ...`, if one can."""

    def __init__(self, message: str, *, layer: str = "host_api", operation: str = "unknown", object: str = "unknown",
                 grant: "Optional[str]" = None, data: "Optional[Mapping[str, Any]]" = None) -> None:
        super().__init__(message, code="permission_denied", number=-31001, data=data)
        self.layer = layer
        self.operation = operation
        self.object = object
        self.grant = grant


class NotSupported(HostError):
    """This host does not offer the function."""


class Timeout(HostError):
    """The deadline of the call in progress, or of this host call, has passed."""


class Cancelled(HostError):
    """Whoever made the call in progress no longer wants it. Let it pass; the runner answers for you."""


class PluginError(Exception):
    """Raise it for an error of the plugin's own: a number outside -32768..-31000, a text, and any JSON data."""

    def __init__(self, message: str, *, code: int = 1, data: "Any" = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class InvalidArguments(Exception):
    """The arguments object does not fit the tool's parameters."""


def from_wire(error: "Any") -> HostError:
    """The exception for the `error` member of an answer."""
    if not isinstance(error, dict):
        return HostError(str(error))
    number = error.get("code")
    number = number if isinstance(number, int) else -32603
    message = str(error.get("message", "the host gave no reason"))
    data = error.get("data")
    data = data if isinstance(data, dict) else {}
    word = str(data.get("code", _WORDS.get(number, "internal")))
    if number == -31001:
        grant = data.get("grant")
        return PermissionDenied(
            message, layer=str(data.get("layer", "host_api")), operation=str(data.get("operation", "unknown")),
            object=str(data.get("object", "unknown")), grant=grant if isinstance(grant, str) else None, data=data,
        )
    kind = {-31002: Cancelled, -31003: Timeout, -31007: NotSupported}.get(number, HostError)
    return kind(message, code=word, number=number, data=data)


_WORDS = {
    -32700: "parse_error", -32600: "invalid_request", -32601: "not_found", -32602: "invalid_params", -32603: "internal",
    -31001: "permission_denied", -31002: "cancelled", -31003: "timeout", -31004: "busy", -31005: "too_large",
    -31006: "quota", -31007: "not_supported", -31008: "plugin_failed", -31009: "not_ready",
}
