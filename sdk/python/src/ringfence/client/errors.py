"""What can go wrong between an application and its daemon: one class for each family of the daemon's codes.

Each error has the stable `code` (docs/errors.md), a `message` and, where there is something to do, a `hint`; `status` is that of
HTTP and `correlation_id` finds the request in the audit trail. Two codes are the client's own: `unavailable` (nobody answers, or
the daemon went away in the middle) and `timeout` with `status` None (this side waited no longer).
"""

from typing import Any, Dict, Optional, Type


class RingfenceError(Exception):
    """Something was refused or failed."""

    def __init__(self, message: str, code: str = "internal", hint: Optional[str] = None, status: Optional[int] = None,
                 correlation_id: Optional[str] = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.status = status
        self.correlation_id = correlation_id
        self.idempotency_key: Optional[str] = None
        """The key of an installation or a call that may have been done: the same one again does it only once."""

    def __str__(self) -> str:
        return "%s (%s)%s" % (self.message, self.code, "; " + self.hint if self.hint else "")


class Usage(RingfenceError):
    """The request, a permission, a limit, the configuration, a manifest or a package is not as it must be."""


class NotFound(RingfenceError):
    """The plugin, tool, run, token, path or program does not exist."""


class Refused(RingfenceError):
    """A permission, the policy, the role, missing consent or a quarantine forbids it, or it cannot be enforced here."""


class Conflict(RingfenceError):
    """It is not in the state that this needs, or somebody else was faster: read it again."""


class PluginFailed(RingfenceError):
    """The plugin answered with an error, crashed, or broke a schema or its quota."""


class LimitBroken(RingfenceError):
    """A limit was broken, or the work took longer than its limit."""


class Busy(RingfenceError):
    """Somebody holds what is needed, or there are too many requests: try again later."""


class Cancelled(RingfenceError):
    """It was given up before it was done."""


class Unavailable(RingfenceError):
    """Nobody answers, or the daemon went away in the middle: what was asked may have been done or not."""


FAMILIES: Dict[Type[RingfenceError], str] = {
    Usage: "usage invalid_permission limit_invalid invalid_config invalid_manifest invalid_package too_large"
           " method_not_allowed unsupported_media_type",
    NotFound: "not_found path_not_found not_executable",
    Refused: "permission_denied policy_denied floor consent_required quarantined unauthenticated forbidden not_supported"
             " not_enforceable",
    Conflict: "already_installed not_active conflict",
    PluginFailed: "plugin_failed schema_violation quota",
    LimitBroken: "violation timeout",
    Busy: "busy rate_limited",
    Cancelled: "cancelled",
    RingfenceError: "io internal",
    Unavailable: "unavailable",
}
CLASSES = {code: family for family, codes in FAMILIES.items() for code in codes.split()}


def made(code: str, message: str, hint: Optional[str] = None, status: Optional[int] = None,
         correlation_id: Optional[str] = None) -> RingfenceError:
    """The error of a code; one that this version does not know is a plain RingfenceError."""
    return CLASSES.get(code, RingfenceError)(message, code, hint, status, correlation_id)


def from_document(document: Any, status: Optional[int] = None) -> RingfenceError:
    """The error that `{"error": {...}}` tells."""
    detail = document.get("error") if isinstance(document, dict) else None
    if not isinstance(detail, dict):
        return made("internal", "the daemon failed without saying why", status=status)
    return made(str(detail.get("code")), str(detail.get("message")), detail.get("hint"), status, detail.get("correlation_id"))
