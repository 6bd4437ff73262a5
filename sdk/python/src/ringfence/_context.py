"""What a hook handler is given."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Context(dict):  # type: ignore[type-arg]
    """`{event, body, metadata, kind, correlation_id, blocked}`; each is also an attribute. `blocked` is `{by, reason}` for an
    observer of what a guard has blocked, else `None`."""

    def __getattr__(self, name: str) -> "Any":
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None
