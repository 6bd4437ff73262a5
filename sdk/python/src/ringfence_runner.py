"""Starts a Python plugin: moves the protocol away from fd 0 and 1, then serves it.

    python3 -I -S -B ringfence_runner.py PACKAGE ENTRY_POINT [--types FILE]
    python3 -I -S -B ringfence_runner.py --describe PACKAGE ENTRY_POINT [--types FILE]
    python3 -I -S -B ringfence_runner.py --compile

This file is compiled at every start, because it is the main program, so it stays small; all else is in the package
`ringfence` beside it, of which `--compile` prints the byte code for the host to keep.
"""

import posix
import sys

PROTOCOL_FD_MIN = 100  # High, so that a plugin that closes or counts low descriptors does not meet the protocol.


def _move_protocol():
    """The protocol's two descriptors, closed on exec; from now on fd 0 is empty and fd 1 is the log."""
    import fcntl

    pair = tuple(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, PROTOCOL_FD_MIN) for fd in (0, 1))
    empty = posix.open("/dev/null", posix.O_RDONLY | posix.O_CLOEXEC)
    posix.dup2(empty, 0)
    posix.close(empty)
    posix.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    return pair


def main(arguments):
    here = __file__.rpartition("/")[0] or "."
    sys.path.insert(0, here)
    describe = arguments[:1] == ["--describe"]
    if arguments == ["--compile"]:
        from ringfence._byte_code import print_byte_code

        return print_byte_code(here)
    if describe:
        arguments = arguments[1:]
    if len(arguments) not in (2, 4) or arguments[2:3] not in ([], ["--types"]):
        sys.stderr.write("usage: ringfence_runner.py [--describe] PACKAGE ENTRY_POINT [--types FILE]\n")
        return 2
    types = arguments[3] if len(arguments) == 4 else None
    reader, writer = _move_protocol()
    sys.argv = [arguments[1]]
    if describe:
        from ringfence._describe import describe_plugin

        return describe_plugin(writer, arguments[0], arguments[1], types)
    from ringfence._runner import run

    return run(reader, writer, arguments[0], arguments[1], types)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
