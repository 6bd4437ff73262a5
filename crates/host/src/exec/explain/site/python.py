"""Says, in a run that Ringfence watches, which line of the program a file was asked for by.

The watcher sees system calls, and no line of Python makes one by itself. Before each act on a path this asks for a name that is
nowhere, in which the line and the path are written; the watcher reads it. Nothing else comes of it.
"""


def _begin():
    import os
    import sys

    here = os.path.dirname(os.path.abspath(__file__))
    while here in sys.path:
        sys.path.remove(here)
    access, encode, path_of, absolute, frame_of = os.access, os.fsencode, os.fspath, os.path.abspath, sys._getframe
    library = (os.path.dirname(os.__file__) + os.sep, "<frozen ", here)
    # Parts of the system that every sandbox shows.
    shown = (b"/usr/", b"/lib", b"/bin/", b"/sbin/", b"/proc/", b"/dev/")
    first, second, both = (0,), (1,), (0, 1)
    acts = {"os.rename": both, "os.link": both, "os.symlink": second}
    for name in ("open", "ctypes.dlopen", "sqlite3.connect", "subprocess.Popen", "os.posix_spawn"):
        acts[name] = first
    for name in (
        "exec listdir scandir mkdir rmdir remove chmod chown chdir truncate utime getxattr setxattr listxattr removexattr"
    ).split():
        acts["os." + name] = first
    said = set()

    def line():
        frame = frame_of(2)
        while frame is not None and frame.f_code.co_filename.startswith(library):
            frame = frame.f_back
        return frame and (encode(frame.f_code.co_filename), frame.f_lineno)

    def heard(event, arguments):
        wanted = acts.get(event)
        if wanted is None:
            return
        try:
            for index in wanted:
                path = arguments[index]
                if path is None or isinstance(path, int):
                    continue
                path = encode(absolute(path_of(path)))
                if path.startswith(shown):
                    continue
                found = line()
                if found is None:
                    continue
                file, number = found
                mark = b"/.ringfence/at/%d/%d/%s%s" % (number, len(file), file, path)
                if len(said) < 4096 and mark not in said:
                    said.add(mark)
                    access(mark, 0)
        except Exception:
            # The program's own business goes on, whatever it has made of the library.
            pass

    sys.addaudithook(heard)


def _go_on():
    """Whatever module of this name the program would have had."""
    import sys

    own = sys.modules.pop(__name__, None)
    try:
        import sitecustomize  # noqa: F401
    except ImportError:
        if own is not None:
            sys.modules[__name__] = own


_begin()
if __name__ == "sitecustomize":
    _go_on()
