"""Finds the plugin behind an entry point, and in it the functions that answer tools, hooks and events.

Deliberately lazy: a tool's way of being called is worked out at its first call, schemas only for `--describe`.
"""

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Callable, Dict, List, Optional, Tuple

RESERVED = ("initialize", "shutdown", "config_changed", "handle_event")
"""Functions with a meaning of their own; they are tools only when decorated."""


class LoadError(Exception):
    """The entry point leads nowhere. The text is for the author."""


class Plugin:
    """Base class of plugins that are classes. Public methods with a declared tool's name answer that tool."""

    __module__ = "ringfence"  # the name that authors import, and that an installation looks for

    def initialize(self, config: "Dict[str, Any]") -> "Any":
        """Called once before anything else, with the configuration. May be `async`."""

    def shutdown(self) -> "Any":
        """Called once before the process ends; two seconds are left then. May be `async`."""

    def config_changed(self, config: "Dict[str, Any]") -> "Any":
        """Called with the new configuration after somebody changed it. May be `async`."""

    def handle_event(self, topic: str, payload: "Any") -> "Any":
        """Called for each event that reaches the plugin. May be `async`."""


class Loaded:
    """A plugin in this process: a module, or an object of its class."""

    def __init__(self, module: "ModuleType", found: "Optional[type]") -> None:
        self.module = module
        self.found = found
        self.target: "Any" = module
        self._tools: "Dict[str, Callable[[Dict[str, Any]], Any]]" = {}
        self.tools: "Dict[str, Any]" = {}
        self.hooks: "Dict[str, Any]" = {}

    def construct(self, config: "Dict[str, Any]") -> None:
        """Makes the object, when it is a class. A constructor with one required parameter gets the configuration."""
        if self.found is not None:
            make = getattr(self.found, "__init__")
            code = getattr(make, "__code__", None)
            defaults = getattr(make, "__defaults__", None) or ()
            takes_config = code is not None and code.co_argcount - len(defaults) == 2
            self.target = self.found(config) if takes_config else self.found()
        self.collect()

    def collect(self) -> None:
        """Finds what the decorators marked."""
        owner = self.found if self.found is not None else self.module
        names = dir(owner) if self.found is not None else list(vars(owner))
        for name in names:
            if name.startswith("__"):
                continue
            value = getattr(owner, name, None)
            mark = getattr(value, "__ringfence_tool__", None)
            if type(mark) is dict:
                self.tools[mark["name"]] = (getattr(self.target, name), mark)
            for hook in getattr(value, "__ringfence_hooks__", None) or ():
                if type(hook) is dict:
                    self.hooks[hook["event"]] = (getattr(self.target, name), hook)

    def function(self, name: str) -> "Optional[Callable[..., Any]]":
        """The public function or method of this name."""
        if not name or name.startswith("_"):
            return None
        value = getattr(self.target, name, None)
        return value if callable(value) else None

    def tool(self, name: str) -> "Optional[Callable[[Dict[str, Any]], Any]]":
        """How to call a tool with its arguments object."""
        known = self._tools.get(name)
        if known is not None:
            return known
        marked = self.tools.get(name)
        if marked is not None:
            from ._arguments import spread

            call = spread(marked[0])
        else:
            found = None if name in RESERVED else self.function(name) or self.function(_identifier(name))
            if found is None:
                return None
            call = _plain(found)
        self._tools[name] = call
        return call

    def hook(self, event: str) -> "Optional[Callable[..., Any]]":
        """The handler of a hook: marked, or of the event's name as it is or in snake case."""
        marked = self.hooks.get(event)
        if marked is not None:
            return marked[0]  # type: ignore[no-any-return]
        return self.function(event) or self.function(_snake(event))


def _identifier(name: str) -> str:
    return name.replace("-", "_").replace(".", "_")


def _snake(event: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in event).lstrip("_")


def _plain(function: "Callable[..., Any]") -> "Callable[[Dict[str, Any]], Any]":
    """A function without a decorator takes the arguments object, or nothing at all."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is not None:
        bound = 1 if hasattr(function, "__self__") else 0
        if code.co_argcount - bound == 0 and not code.co_flags & 0x04:
            return lambda arguments: function()
    return function


def load(package: str, entry_point: str, types: "Optional[str]" = None) -> Loaded:
    """Imports the plugin. LoadError when the entry point leads nowhere; else whatever the import raises."""
    _search_path(package)
    if types is not None:
        from ._types import register

        bases = register(types)
    else:
        bases = ()
    name, _, class_name = entry_point.partition(":")
    module = _import_file(package, name) if name.endswith(".py") else _import_module(package, name)
    if class_name:
        found: "Any" = module
        for part in class_name.split("."):
            found = getattr(found, part, None)
        if not isinstance(found, type):
            raise LoadError("the module " + name + " has no class " + class_name)
        return Loaded(module, found)
    return Loaded(module, _only_class(module, bases))


def _only_class(module: "ModuleType", bases: "Tuple[str, ...]") -> "Optional[type]":
    """A module may also name no class and have just one that derives from a base class of plugins."""
    found: "List[type]" = []
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == module.__name__ and value not in found:
            names = [base.__module__ + "." + base.__qualname__ for base in value.__mro__[1:]]
            if Plugin in value.__mro__[1:] or any(base in names for base in bases):
                found.append(value)
    leaves = [one for one in found if not any(one in other.__mro__[1:] for other in found)]
    if len(leaves) > 1:
        raise LoadError("several classes could be the plugin (" + ", ".join(one.__name__ for one in leaves)
                        + "): name one in the entry point as module:Class")
    return leaves[0] if leaves else None


def _search_path(package: str) -> None:
    import builtins

    sys.path.insert(1, package)
    for name in (".venv", "venv"):
        library = package + "/" + name + "/lib"
        try:
            versions = posix.listdir(library)
        except OSError:
            continue
        wanted = "python%d.%d" % sys.version_info[:2]
        if wanted not in versions:
            raise LoadError(name + " has packages for " + ", ".join(sorted(versions)) + ", and this is " + wanted)
        import site

        site.addsitedir(library + "/" + wanted + "/site-packages")
    # Without `site` these two are missing, and scripts use them.
    for name in ("exit", "quit"):
        if not hasattr(builtins, name):
            setattr(builtins, name, sys.exit)


def _import_module(package: str, name: str) -> "ModuleType":
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise LoadError("the entry point " + repr(name) + " names no module; write module, module:Class or file.py")
    __import__(name)
    module = sys.modules[name]
    file = getattr(module, "__file__", None) or ""
    if not file.startswith(package.rstrip("/") + "/"):
        raise LoadError("the module " + name + " is not in the package but "
                        + (file or "built into Python") + "; give it another name")
    return module


def _import_file(package: str, path: str) -> "ModuleType":
    full = package.rstrip("/") + "/" + path
    folder, _, file = full.rpartition("/")
    if folder != package.rstrip("/"):
        sys.path.insert(1, folder)
    stem = file[:-3]
    # A plugin may be called json.py; what is loaded already keeps its name.
    name = stem if stem.isidentifier() and stem not in sys.modules else "ringfence_plugin_" + _identifier(stem)
    machinery = sys.modules["_frozen_importlib_external"]
    spec = machinery.spec_from_file_location(name, full)
    module: "ModuleType" = sys.modules["_frozen_importlib"].module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except FileNotFoundError as error:
        if error.filename == full:
            raise LoadError("the package has no file " + path) from None
        raise
    return module
