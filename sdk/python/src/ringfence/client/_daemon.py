"""A daemon of the application's own: found, started, and ended with it.

The daemon follows its standard input, whose other end is here. However this process ends, the kernel closes that end, and the daemon
stops its plugins and goes. A child that was forked from here would hold a copy of it, so the copy is closed after each fork.
"""

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
import weakref
from typing import Any, Dict, List, Mapping, Optional, Union

from .errors import RingfenceError, from_document, made

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
"""After this long it is killed, and what it started with it."""
REMOVE_TRIES, REMOVE_WAIT_S = 20, 0.1
READY_MAX_BYTES = 64 * 1024
LOG_MAX_BYTES = 10 * 1024 * 1024
"""A longer log is begun anew at the next start; one old file is kept."""
LOG_SHOWN_BYTES = 2000
NOT_PASSED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""What a service manager tells the application is not for its daemon."""

_RUNNING: "weakref.WeakSet[Daemon]" = weakref.WeakSet()


def home_of(home: Optional[str]) -> str:
    """The home that the command line would use."""
    if home:
        return os.path.abspath(os.path.expanduser(home))
    if os.environ.get("RINGFENCE_HOME"):
        return os.path.abspath(os.environ["RINGFENCE_HOME"])
    for name, below in (("XDG_DATA_HOME", "ringfence"), ("HOME", ".local/share/ringfence")):
        base = os.environ.get(name, "")
        if os.path.isabs(base):
            return os.path.join(base, below)
    raise made("usage", "no home directory: RINGFENCE_HOME, XDG_DATA_HOME and HOME are not set")


def find_binary(binary: Optional[str]) -> str:
    """The program: as given, else RINGFENCE_BIN, else on PATH."""
    named = binary or os.environ.get("RINGFENCE_BIN")
    found = shutil.which(named or "ringfence")
    if found is None:
        raise made("not_found", "there is no program %s" % (named or "ringfence on PATH"),
                   "give `binary`, or set RINGFENCE_BIN to its path")
    return os.path.abspath(found)


def toml(value: Any) -> str:
    """A value as TOML writes it on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join("%s = %s" % (_text(str(key)), toml(one)) for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(one) for one in value) + "]"
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if isinstance(value, (str, os.PathLike)):
        return _text(os.fspath(value))
    raise made("usage", "the configuration has texts, numbers, lists and tables, not %s" % type(value).__name__)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_config(home: str, config: Union[str, Mapping[str, Any]]) -> None:
    """Puts the configuration into the home, in one step."""
    lines = config if isinstance(config, str) else "".join("%s = %s\n" % (_text(name), toml(value)) for name, value in config.items())
    descriptor, draft = tempfile.mkstemp(prefix=".config-", dir=home)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(lines)
        os.replace(draft, os.path.join(home, "config.toml"))
    except BaseException:
        os.unlink(draft)
        raise


class Daemon:
    """The process. `stop()` ends it; so do the end of this process and of this object."""

    def __init__(self, process: "subprocess.Popen[bytes]", home: str, temporary: bool) -> None:
        self.process, self.home, self.socket = process, home, os.path.join(home, "daemon.sock")
        self._temporary = temporary
        self._finish = weakref.finalize(self, _stop, process, home if temporary else None, os.getpid())
        _RUNNING.add(self)

    def stop(self) -> None:
        """Ends it in order, and waits for that. May be called more than once."""
        self._finish()

    def gone(self) -> Optional[str]:
        """Why it answers no more, when it has ended."""
        if self.process.poll() is not None:
            log = "" if self._temporary else "; its log is " + os.path.join(self.home, "daemon.log")
            return "the daemon has ended with status %s%s" % (self.process.returncode, log)
        return None

    def _forked(self) -> None:
        self._finish.detach()
        if self.process.stdin is not None:
            self.process.stdin.close()


def _remove(home: str) -> None:
    """Removes a home. Installed packages are closed for writing, which only root may pass over; and what a killed daemon had started
    may write for a moment longer."""
    for attempt in range(1, REMOVE_TRIES + 1):
        try:
            os.chmod(home, 0o700)
            for place, folders, _ in os.walk(home):
                for folder in folders:
                    path = os.path.join(place, folder)
                    # What a plugin left may be a link to anywhere.
                    if not os.path.islink(path):
                        os.chmod(path, 0o700)
            return shutil.rmtree(home)
        except OSError:
            if attempt == REMOVE_TRIES:
                raise
            time.sleep(REMOVE_WAIT_S)


def _stop(process: "subprocess.Popen[bytes]", temporary: Optional[str], owner: int) -> None:
    if os.getpid() != owner:
        return
    if process.stdin is not None:
        try:
            process.stdin.close()
        except OSError:
            pass
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        # Its plugins end with it within a second.
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
    if temporary is not None and os.path.isdir(temporary):
        _remove(temporary)


def _after_fork() -> None:
    for daemon in list(_RUNNING):
        daemon._forked()


if hasattr(os, "register_at_fork"):  # Elsewhere there is no fork, and no daemon but one at an address.
    os.register_at_fork(after_in_child=_after_fork)


def start(binary: Optional[str], home: Optional[str], config: Union[str, Mapping[str, Any], None],
          environment: Optional[Mapping[str, str]], timeout: float) -> Daemon:
    """Starts a daemon and waits until it is ready."""
    program = find_binary(binary)
    temporary = home is None
    place = tempfile.mkdtemp(prefix="ringfence-") if home is None else os.path.abspath(os.path.expanduser(home))
    try:
        os.makedirs(place, mode=0o700, exist_ok=True)
        if config is not None:
            write_config(place, config)
        process = _spawn(program, place, environment)
    except BaseException as error:
        if temporary:
            _remove(place)
        if isinstance(error, OSError):
            raise made("io", "cannot start %s: %s" % (program, error)) from error
        raise
    daemon = Daemon(process, place, temporary)
    try:
        _wait_until_ready(daemon, timeout)
    except BaseException:
        daemon.process.kill()
        daemon.stop()
        raise
    return daemon


def _spawn(program: str, home: str, environment: Optional[Mapping[str, str]]) -> "subprocess.Popen[bytes]":
    passed: Dict[str, str] = dict(os.environ if environment is None else environment, RINGFENCE_HOME=home)
    for name in NOT_PASSED:
        passed.pop(name, None)
    words: List[str] = [program, "serve", "--listen", "none", "--until-stdin-closes", "--json"]
    path = os.path.join(home, "daemon.log")
    if os.path.exists(path) and os.path.getsize(path) > LOG_MAX_BYTES:
        os.replace(path, path + ".1")
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        # A session of its own: Ctrl-C is for the application, which ends the daemon in order.
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=passed, cwd="/",
                                start_new_session=True)
    finally:
        os.close(log)


def _wait_until_ready(daemon: Daemon, timeout: float) -> None:
    output = daemon.process.stdout
    assert output is not None
    end, data = time.monotonic() + timeout, b""
    while b"\n" not in data and len(data) < READY_MAX_BYTES:
        if not select.select([output], [], [], max(0.0, end - time.monotonic()))[0]:
            raise made("timeout", "the daemon was not ready within %g s" % timeout, "its log says what it waits for")
        block = os.read(output.fileno(), 4096)
        if not block:
            break
        data += block
    try:
        document = json.loads(data)
    except ValueError:
        document = None
    if isinstance(document, dict) and "error" in document:
        raise from_document(document)
    if not isinstance(document, dict) or "pid" not in document:
        raise _failed(daemon)
    daemon.socket = document["socket"]
    output.close()


def _failed(daemon: Daemon) -> RingfenceError:
    try:
        with open(os.path.join(daemon.home, "daemon.log"), "rb") as opened:
            said = opened.read()[-LOG_SHOWN_BYTES:].decode("utf-8", "replace").strip()
    except OSError:
        said = ""
    status = daemon.process.wait() if daemon.process.poll() is not None else "none yet"
    return made("internal", "the daemon did not start (status %s): %s" % (status, said or "it said nothing"))
