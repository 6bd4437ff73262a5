from typing import Any, Callable, Dict, Optional, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])

@overload
def tool(function: F) -> F: ...
@overload
def tool(
    *,
    name: Optional[str] = None,
    description: Optional[str] = None,
    input_schema: Optional[Dict[str, Any]] = None,
    output_schema: Optional[Dict[str, Any]] = None,
) -> Callable[[F], F]: ...
def hook(
    event: str,
    *,
    kind: str = "observer",
    priority: int = 50,
    timeout_ms: Optional[int] = None,
    on_failure: Optional[str] = None,
) -> Callable[[F], F]: ...
