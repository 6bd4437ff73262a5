"""Ringfence for authors of plugins in Python.

    from ringfence import host, tool, PermissionDenied

    @tool
    def greet(name: str) -> str:
        host.log("info", "greeting", name=name)
        return "Hello, " + name

Start reading at `host` (what a plugin may ask), `tool` and `hook` (what it offers) and `ringfence.testing`. The names are
imported when they are first used, because a plugin's start is measured in milliseconds.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._context import Context as Context
    from ._decorators import hook as hook
    from ._decorators import tool as tool
    from ._host import Host as Host
    from ._host import host as host
    from ._http import HttpStream as HttpStream
    from ._plugin import Plugin as Plugin
    from .errors import Cancelled as Cancelled
    from .errors import HostError as HostError
    from .errors import NotSupported as NotSupported
    from .errors import PermissionDenied as PermissionDenied
    from .errors import PluginError as PluginError
    from .errors import Timeout as Timeout

__version__ = "0.1.0"

__all__ = ["Cancelled", "Context", "Host", "HostError", "HttpStream", "NotSupported", "PermissionDenied", "Plugin", "PluginError",
           "Timeout", "hook", "host", "tool"]

_HOMES = {"Context": "_context", "hook": "_decorators", "tool": "_decorators", "Host": "_host", "host": "_host",
          "HttpStream": "_http", "Plugin": "_plugin"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError("module 'ringfence' has no attribute " + repr(name))
    home = "ringfence." + _HOMES.get(name, "errors")
    __import__(home)
    import sys

    value = getattr(sys.modules[home], name)
    globals()[name] = value
    return value
