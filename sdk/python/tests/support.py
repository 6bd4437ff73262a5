"""Packages made for one test, and the harness without its conveniences."""

import os
import sys
import tempfile
import textwrap
import unittest

SRC = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "src")
sys.path.insert(0, SRC)

from ringfence.testing import PluginFailed, PluginHarness  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


class PluginTest(unittest.TestCase):
    """A test that makes packages below a directory of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ringfence-sdk-")
        self.addCleanup(folder.cleanup)
        self.folder = os.path.realpath(folder.name)

    def package(self, source, entry_point="plugin.py", **files):
        """A package with `plugin.py` (or what `files` say, `__` standing for `/`)."""
        package = os.path.join(self.folder, "package%d" % len(os.listdir(self.folder)))
        os.mkdir(package)
        contents = {"plugin.yaml": "name: under-test\nversion: 1.0.0\nruntime: python\nentry_point: %s\n" % entry_point}
        if source is not None:
            contents["plugin.py"] = source
        for name, content in files.items():
            contents[name.replace("__", "/") + ".py"] = content
        for name, content in contents.items():
            path = os.path.join(package, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as opened:
                opened.write(textwrap.dedent(content))
        return package

    def start(self, source, entry_point="plugin.py", grants=(), config=None, files=None, **options):
        """A started plugin, closed when the test ends."""
        harness = PluginHarness(self.package(source, entry_point, **(files or {})), grants=grants, config=config, **options)
        self.addCleanup(harness.close)
        return harness.start()

    def failure(self, act, *arguments, **options):
        """The PluginFailed that an act raises."""
        with self.assertRaises(PluginFailed) as caught:
            act(*arguments, **options)
        return caught.exception
