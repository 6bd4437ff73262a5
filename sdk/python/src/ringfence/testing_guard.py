"""Starts the runner of a plugin under test, holding its own acts to the grants through the interpreter's audit events.

    python3 -I -S -B testing_guard.py ALLOWED_FOLDERS_JSON GRANTS_JSON RUNNER ARGUMENT...

Good enough to see both sides of a grant in a test. It is no sandbox: C code, and Python that wants to, pass it by.
"""

import os
import sys
from typing import Any, Callable, Dict, List, Sequence, Tuple

READ_ANYWHERE = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/dev", "/proc")
"""What every plugin sees inside the real sandbox."""


def install(allowed: Sequence[str], grants: Sequence[str], matches: Callable[[str, str], bool]) -> None:
    """From now on, acts beyond `grants` and the folders `allowed` fail as they would inside the sandbox."""
    bounds: Dict[str, List[str]] = {"file:read": [], "file:write": [], "file:delete": [], "subprocess:execute": []}
    for grant in grants:
        name, _, scope = grant.partition("=")
        if name in bounds:
            bounds[name].append(scope)
    own = tuple(allowed)
    system = READ_ANYWHERE + (sys.prefix, sys.base_prefix)

    def inside(path: str, folders: Tuple[str, ...]) -> bool:
        return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)

    def judge(permission: str, given: Any) -> None:
        if not isinstance(given, (str, bytes)):
            return  # a descriptor: whoever opened it was judged
        path = os.path.abspath(os.fsdecode(given))
        if inside(path, own) or (permission == "file:read" and inside(path, system)) or path == "/dev/null":
            return
        if any(not scope or matches(scope, path) for scope in bounds[permission]):
            return
        readable = any(not scope or matches(scope, path) for scope in bounds["file:read"]) or inside(path, system)
        if permission == "file:read" or not readable:
            raise FileNotFoundError(2, "No such file or directory", path)  # not mounted: it does not exist
        raise PermissionError(13, "Permission denied", path)

    def check(event: str, arguments: Tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            changes = flags is not None and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            judge("file:write" if changes else "file:read", path)
        elif event in ("os.listdir", "os.scandir"):
            judge("file:read", arguments[0] if arguments[0] is not None else ".")
        elif event in ("os.remove", "os.rmdir"):
            judge("file:delete", arguments[0])
        elif event in ("os.mkdir", "os.chmod", "os.truncate", "os.symlink"):
            judge("file:write", arguments[0])
        elif event == "os.rename":
            judge("file:delete", arguments[0])
            judge("file:write", arguments[1])
        elif event in ("subprocess.Popen", "os.posix_spawn", "os.exec", "os.system", "os.fork", "os.forkpty"):
            if not bounds["subprocess:execute"]:
                raise PermissionError(1, "Operation not permitted", str(arguments[0]) if arguments else event)
        elif event in ("socket.connect", "socket.bind", "socket.sendto"):
            raise OSError(101, "Network is unreachable")

    sys.addaudithook(check)


if __name__ == "__main__":
    import json

    folders, grants, runner = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
    sys.path.insert(0, os.path.dirname(runner))
    from ringfence.fake_host import matches

    sys.path.pop(0)
    sys.argv = sys.argv[3:]
    with open(runner, "rb") as opened:
        code = compile(opened.read(), runner, "exec")
    install(folders, grants, matches)
    exec(code, {"__name__": "__main__", "__file__": runner})
