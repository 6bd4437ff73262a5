"""Marks functions and methods as tools and hook handlers. The exact types are in the stub beside this file."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])


def tool(function: "Any" = None, *, name: "Optional[str]" = None, description: "Optional[str]" = None,
         input_schema: "Optional[Dict[str, Any]]" = None, output_schema: "Optional[Dict[str, Any]]" = None) -> "Any":
    """Makes a function a tool. Its name, its docstring and its annotations fill what is not given.

    A single parameter of type `dict` (or named `arguments`) gets the arguments object; other parameters get the members
    of their names.
    """

    def mark(function: "Any") -> "Any":
        function.__ringfence_tool__ = {
            "name": name or function.__name__, "description": description,
            "input_schema": input_schema, "output_schema": output_schema,
        }
        return function

    return mark if function is None else mark(function)


def hook(event: str, *, kind: str = "observer", priority: int = 50, timeout_ms: "Optional[int]" = None,
         on_failure: "Optional[str]" = None) -> "Callable[[F], F]":
    """Makes a function the handler of an event: a `mutator` changes what passes, a `guard` may block, an `observer` sees."""
    if kind not in ("mutator", "guard", "observer"):
        raise ValueError("a hook is a mutator, a guard or an observer, not " + repr(kind))
    declaration: "Dict[str, Any]" = {"event": event, "kind": kind, "priority": priority}
    if timeout_ms is not None:
        declaration["timeout_ms"] = timeout_ms
    if on_failure is not None:
        declaration["on_failure"] = on_failure

    def mark(function: "Any") -> "Any":
        hooks = list(getattr(function, "__ringfence_hooks__", ()))
        hooks.append(declaration)
        function.__ringfence_hooks__ = hooks
        return function

    return mark
