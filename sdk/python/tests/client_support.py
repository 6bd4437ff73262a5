"""What the tests of the client share: the program, a plugin that does a little of everything, and a look at processes."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path[:0] = [os.path.join(ROOT, "sdk", "python", "src")]
BINARY = os.environ.get("RINGFENCE_BIN")
LONGEST_S = 60

SOURCE = '''
import os, time
from ringfence import host, PluginError

def version(arguments):
    return "@VERSION@"

def echo(arguments):
    return arguments

def count(arguments):
    number = host.load_plugin_data("number", 0) + 1
    host.store_plugin_data("number", number)
    return number

def read(arguments):
    with open(arguments["path"], encoding="utf-8") as opened:
        return opened.read()

def fail(arguments):
    raise PluginError("not today")

def sleep(arguments):
    host.log("info", "sleeping")
    time.sleep(arguments["seconds"])
    return "slept"

def die(arguments):
    os._exit(3)

def onRequest(ctx):
    return {"body": dict(ctx["body"], seen=True)}

def handle_event(topic, payload):
    host.store_plugin_data("heard", payload)

def heard(arguments):
    return host.load_plugin_data("heard")
'''

MANIFEST = '''name: several
version: @VERSION@
runtime: python
entry_point: several.py
author: Tests
permissions:
  - { permission: file:read, scope: ["@DATA@/**"], optional: true }
  - { permission: event:post, scope: [news] }@MORE@
hooks: [{ event: onRequest, kind: mutator }]
tools: [{ name: version }, { name: echo }, { name: count }, { name: read }, { name: fail }, { name: sleep }, { name: die },
  { name: heard }]
config_schema:
  type: object
  properties: { language: { type: string, enum: [de, fr], default: de }, key: { type: string, writeOnly: true } }
'''


class Case(unittest.TestCase):
    """A test with a directory of its own. Nothing that it starts may be left behind."""

    def setUp(self):
        if not BINARY:
            self.skipTest("needs RINGFENCE_BIN")
        self.directory = os.path.realpath(tempfile.mkdtemp(prefix="ringfence-client-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.data = os.path.join(self.directory, "data")
        os.mkdir(self.data)
        with open(os.path.join(self.data, "a.txt"), "w") as opened:
            opened.write("a note")
        self.before = daemons()
        self.addCleanup(self.leaves_nothing)

    def leaves_nothing(self):
        within(lambda: not daemons() - self.before, "a daemon is left behind")

    def package(self, version="1.0.0", more=""):
        """The plugin in this version, asking for these permissions beside its own."""
        folder = os.path.join(self.directory, "several-" + version)
        os.makedirs(folder, exist_ok=True)
        for name, text in (("plugin.yaml", MANIFEST), ("several.py", SOURCE)):
            with open(os.path.join(folder, name), "w") as opened:
                opened.write(text.replace("@VERSION@", version).replace("@DATA@", self.data).replace("@MORE@", more))
        return folder

    def raises(self, kind, code, function, *arguments, **named):
        """The error that a call raises, of this class and with this code."""
        with self.assertRaises(kind) as caught:
            function(*arguments, **named)
        self.assertEqual(caught.exception.code, code, caught.exception)
        return caught.exception


# What these tests start inherits it, so that nobody else's daemon counts.
MARK = "RINGFENCE_CLIENT_TEST=%d" % os.getpid()
os.environ.update([MARK.split("=")])


def daemons():
    """The processes that are a daemon and that these tests started."""
    found = set()
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % number, "rb") as opened:
                words = opened.read().split(b"\0")
            with open("/proc/%s/environ" % number, "rb") as opened:
                marked = MARK.encode() in opened.read().split(b"\0")
        except OSError:
            continue
        if marked and words[1:2] == [b"serve"]:
            found.add(int(number))
    return found


def alive(pid):
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        with open("/proc/%d/stat" % pid) as opened:
            return opened.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def below(pid):
    """All descendants of a process."""
    children = {}
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % number) as opened:
                children.setdefault(int(opened.read().rpartition(")")[2].split()[1]), []).append(int(number))
        except OSError:
            pass
    found, wanted = [], [pid]
    while wanted:
        new = children.get(wanted.pop(), [])
        found += new
        wanted += new
    return found


def within(condition, message="it does not come"):
    """Waits until something holds."""
    end = time.monotonic() + LONGEST_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(message)
        time.sleep(0.01)


def script(text, *words, **options):
    """A Python process that runs this text, with the client on its path."""
    environment = dict(os.environ, PYTHONPATH=os.path.join(ROOT, "sdk", "python", "src"))
    environment.update(options.pop("environment", {}))
    prefix = options.pop("prefix", [sys.executable])
    return subprocess.Popen(prefix + [ "-B", "-c", text, *words], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, **options)
