"""The client's own daemon: how it is found and started, how it ends with the application, and what is told when it goes away."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import unittest
from unittest import mock

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]

from client_support import BINARY, Case, alive, below, script, within  # noqa: E402
from ringfence.client import Busy, Host, LimitBroken, NotFound, PluginFailed, RingfenceError, Unavailable, Usage, _host  # noqa: E402
from ringfence.client._daemon import toml  # noqa: E402

APPLICATION = """
import os, sys
from ringfence.client import Host
host = Host.start()
host.install(sys.argv[1], grant=[])
host.activate("several")
assert host.call("several", "version") == "1.0.0"
print(host.pid, host.home, flush=True)
sys.stdin.readline()
"""
NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"


class Ends(Case):
    def application(self, more, **options):
        """An application with a plugin that runs; its process, its daemon, the daemon's processes and its home."""
        process = script(APPLICATION + more, self.package(), stdin=subprocess.PIPE, **options)
        self.addCleanup(self.end, process)
        line = process.stdout.readline().split()
        if len(line) != 2:
            raise AssertionError(process.communicate()[1].decode())
        pid, home = int(line[0]), line[1].decode()
        self.addCleanup(shutil.rmtree, home, ignore_errors=True)
        plugins = below(pid)
        self.assertTrue(alive(pid) and plugins, "the plugin runs")
        process.stdin.write(b"go on\n")
        process.stdin.flush()
        return process, pid, plugins, home

    def end(self, process):
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def gone(self, pid, plugins):
        within(lambda: not any(map(alive, [pid, *plugins])), "something is left behind")

    def test_the_daemon_ends_with_an_application_that_is_killed(self):
        process, pid, plugins, _ = self.application("sys.stdin.read()")
        process.kill()
        self.gone(pid, plugins)

    def test_the_daemon_ends_with_an_application_that_forgets_it(self):
        for more in ("", "raise SystemExit(3)", "raise ValueError('x')", "del host"):
            process, pid, plugins, home = self.application(more)
            process.wait(60)
            self.gone(pid, plugins)
            self.assertFalse(os.path.exists(home), "a home for its lifetime is removed")

    def test_a_child_of_the_application_does_not_hold_the_daemon(self):
        more = """
if os.fork() == 0:
    host.close()
    sys.stdin.read()
    os._exit(0)
os.kill(os.getpid(), 9)
"""
        process, pid, plugins, _ = self.application(more)
        process.wait(60)
        self.gone(pid, plugins)

    def test_a_fork_does_not_end_the_daemon_of_its_parent(self):
        more = """
if os.fork() == 0:
    sys.exit(0)
os.wait()
assert host.call("several", "version") == "1.0.0"
print("it still works", flush=True)
"""
        process, pid, plugins, _ = self.application(more)
        self.assertEqual(process.stdout.readline(), b"it still works\n")
        process.wait(60)
        self.gone(pid, plugins)

    def test_an_interrupt_is_for_the_application_alone(self):
        more = """
import signal
signal.signal(signal.SIGINT, lambda *_: print(host.call("several", "version"), flush=True) or sys.exit(0))
print("ready", flush=True)
signal.pause()
"""
        process, pid, plugins, _ = self.application(more, start_new_session=True)
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        self.assertEqual(process.stdout.readline(), b"1.0.0\n", "the daemon had none of it")
        process.wait(60)
        self.gone(pid, plugins)


class Starts(Case):
    def test_a_home_that_stays_and_its_configuration(self):
        home = os.path.join(self.directory, "home")
        config = {"server": {"log": "warn"}, "plugins": {"directories": [self.directory], "call_timeout": "20s"}}
        with Host.start(BINARY, home=home, config=config) as host:
            self.assertEqual([one["name"] for one in host.scan()["found"]], [])
            self.package()
            self.assertEqual([one["name"] for one in host.scan()["found"]], ["several"])
            host.install(self.package(), grant=[])
            host.activate("several")
            self.assertEqual(host.show("several")["limits"]["call_timeout_ms"], 20000)
            with Host.connect(home=home) as second:
                self.assertEqual(second.list(), host.list())
            self.assertEqual(host.list()[0]["state"], "active", "who only connected ended nothing")
            self.assertEqual(self.raises(Busy, "busy", Host.start, BINARY, home=home).status, None)
        host.close()
        self.raises(Unavailable, "unavailable", host.list)
        with Host.start(BINARY, home=home) as host:
            within(lambda: host.show("several")["running"])
            self.assertEqual(host.call("several", "version"), "1.0.0", "what was active is again")

    def test_what_cannot_be_started_says_why_and_leaves_nothing(self):
        self.raises(NotFound, "not_found", Host.start, os.path.join(self.directory, "nothing"))
        with mock.patch.dict(os.environ, {"PATH": self.directory, "RINGFENCE_BIN": ""}):
            self.assertIn("RINGFENCE_BIN", self.raises(NotFound, "not_found", Host.start).hint)
        wrong = self.raises(RingfenceError, "invalid_config", Host.start, BINARY, config="[server]\nlsten = []\n")
        self.assertIsInstance(wrong, Usage)
        self.assertIn(":2:1: unknown field 'lsten'", wrong.message)
        self.raises(Usage, "usage", Host.start, BINARY, config={"server": {"log": None}})
        self.raises(RingfenceError, "internal", Host.start, "/bin/true")
        long = os.path.join(self.directory, "x" * 100)
        self.assertIn("Unix socket", self.raises(Usage, "usage", Host.start, BINARY, home=long).message)
        self.raises(RingfenceError, "io", Host.start, BINARY, home="/dev/null/home")
        silent = os.path.join(self.directory, "silent")
        with open(silent, "w") as opened:
            opened.write("#!/bin/sh\nexec sleep 600\n")
        os.chmod(silent, 0o755)
        self.raises(LimitBroken, "timeout", Host.start, silent, timeout=0.2)

    def test_what_a_service_manager_tells_the_application_is_not_for_its_daemon(self):
        with mock.patch.dict(os.environ, {"NOTIFY_SOCKET": "/nowhere", "LISTEN_FDS": "1", "LISTEN_PID": "1"}):
            with Host.start(BINARY) as host, open("/proc/%d/environ" % host.pid) as opened:
                names = {word.partition("=")[0] for word in opened.read().split("\0")}
        self.assertFalse(names & {"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"})

    def test_values_are_written_as_toml_reads_them(self):
        told = toml({"a b": [1, True, 1.5, 'say "x"\\\n\x7f\u00e9\U0001f600'], "c": {"d": "e"}})
        self.assertEqual(told, '{"a b" = [1, true, 1.5, "say \\"x\\"\\\\\\n\\u007f\u00e9\U0001f600"], "c" = {"d" = "e"}}')

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_an_ordinary_user_has_a_daemon_and_does_not_reach_that_of_root(self):
        if shutil.which("setpriv") is None or not os.path.exists(SYSTEM_PYTHON):
            self.skipTest("needs setpriv and a Python of the system")
        os.chmod(self.directory, 0o755)
        prefix = ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups", SYSTEM_PYTHON]
        # The program and the client where that user can read them.
        folder = os.path.join(self.directory, "readable")
        shutil.copytree(os.path.dirname(os.path.dirname(os.path.abspath(_host.__file__))), os.path.join(folder, "ringfence"))
        shutil.copy(BINARY, os.path.join(folder, "program"))
        environment = {"PYTHONPATH": folder, "RINGFENCE_BIN": os.path.join(folder, "program"), "HOME": "/nonexistent"}
        own = script(APPLICATION + "print(host.audit(event='install')['records'][0]['body']['by'])", self.package(), prefix=prefix,
                     environment=environment, cwd="/", stdin=subprocess.DEVNULL)
        out, err = own.communicate(timeout=120)
        self.assertEqual((own.returncode, err), (0, b""))
        self.assertFalse(os.path.exists(out.split()[1]), "its home is removed, although packages in it are closed for writing")
        with Host.start(BINARY) as host:
            text = "import sys; from ringfence.client import Host; Host.connect(home=sys.argv[1])"
            other = script(text, host.home, prefix=prefix, environment=environment, cwd="/")
            err = other.communicate(timeout=60)[1].decode()
        self.assertNotEqual(other.returncode, 0)
        self.assertIn("the socket is its owner's", err)


class Goes(Case):
    """A daemon that goes away in the middle."""

    def started(self):
        host = Host.start(BINARY)
        self.addCleanup(host.close)
        host.install(self.package(), grant=[])
        host.activate("several")
        return host

    def while_sleeping(self, host, act):
        """What a call is answered when this is done in the middle of it."""
        caught = []

        def call():
            try:
                host.call("several", "sleep", {"seconds": 600})
            except RingfenceError as error:
                caught.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        within(lambda: any(line["message"] == "sleeping" for line in host.logs("several")))
        act()
        thread.join(60)
        self.assertFalse(thread.is_alive(), "it hangs")
        return caught[0]

    def test_a_call_whose_daemon_is_killed_fails_and_names_its_key(self):
        host = self.started()
        plugins = below(host.pid)
        error = self.while_sleeping(host, lambda: os.kill(host.pid, signal.SIGKILL))
        self.assertIsInstance(error, Unavailable)
        self.assertTrue(error.idempotency_key)
        within(lambda: not any(map(alive, plugins)), "a plugin is left behind")
        self.assertIn("status -9", self.raises(Unavailable, "unavailable", host.list).message)

    def test_a_call_whose_plugin_is_stopped_fails_as_the_plugin(self):
        host = self.started()
        error = self.while_sleeping(host, lambda: host.deactivate("several"))
        self.assertIsInstance(error, (PluginFailed, RingfenceError))
        self.assertNotEqual(error.code, "unavailable")

    def test_streams_end_with_the_daemon(self):
        host = self.started()
        run = host.exec(["/bin/sleep", "600"])
        stream = host.events(reconnect_s=600)
        os.kill(host.pid, signal.SIGKILL)
        self.raises(Unavailable, "unavailable", list, stream)
        self.raises(Unavailable, "unavailable", run.wait)

    def test_a_daemon_that_answers_nothing_is_waited_for_no_longer_than_was_said(self):
        host = self.started()
        os.kill(host.pid, signal.SIGSTOP)
        try:
            with mock.patch.object(_host, "MARGIN_S", 0.2):
                late = self.raises(LimitBroken, "timeout", host.call, "several", "version", timeout=0.1)
            self.assertEqual(late.status, None, "it is this side's own")
            self.assertTrue(late.idempotency_key)
        finally:
            os.kill(host.pid, signal.SIGCONT)
        self.assertEqual(host.call("several", "version"), "1.0.0")

    def test_a_stream_that_breaks_off_goes_on_where_it_was(self):
        home = os.path.join(self.directory, "home")
        first = Host.start(BINARY, home=home)
        self.addCleanup(first.close)
        host = Host.connect(home=home)
        host.install(self.package(), grant=[])
        stream = host.events(reconnect_s=60)
        events = iter(stream)
        host.activate("several")
        # What was done before it is told a moment later, read from the trail.
        while next(events).data["kind"]["event"] != "started":
            pass
        first.close()
        # The last events of the first daemon, then those of the second one, from its beginning.
        second = Host.start(BINARY, home=home)
        self.addCleanup(second.close)
        kinds = []
        for event in events:
            kinds.append(event.data.get("kind", {}).get("event", event.name))
            if "started" in kinds:
                break
        self.assertIn("missed", kinds)
        stream.close()


if __name__ == "__main__":
    unittest.main()
