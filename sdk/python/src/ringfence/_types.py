"""The base classes that the host application registered, from the file given by `--types`.

    {"bases": {"filter": "app.plugins.Filter"}, "paths": ["/usr/share/app"], "sources": {"app.plugins": "class Filter: ..."}}

`paths` are folders to import from; `sources` are whole modules as text, for applications that ship none to plugins.
"""

import sys

from . import _codec
from ._plugin import LoadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple

FILE_MAX_BYTES = 1024 * 1024


def register(file: str) -> "Tuple[str, ...]":
    """Makes the host's modules importable; the dotted names of the base classes. LoadError when the file is no good."""
    try:
        with open(file, "rb") as opened:
            document = _codec.decode(opened.read(FILE_MAX_BYTES + 1))
    except (OSError, ValueError) as error:
        raise LoadError("the host's file of types cannot be read: " + str(error)) from None
    sys.path.extend(document.get("paths") or ())
    for name, source in (document.get("sources") or {}).items():
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            module_name = ".".join(parts[:length])
            if module_name not in sys.modules:
                module = type(sys)(module_name)
                module.__path__ = []
                sys.modules[module_name] = module
                if length > 1:
                    setattr(sys.modules[".".join(parts[:length - 1])], parts[length - 1], module)
        exec(compile(source, "<" + name + ">", "exec"), sys.modules[name].__dict__)
    return tuple((document.get("bases") or {}).values())
