import os
import tempfile
import unittest

from ringfence.testing import PluginFailed, PluginHarness

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class LogSummary(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = os.path.join(folder.name, "app.log")
        self.plugin = PluginHarness(PACKAGE)
        self.addCleanup(self.plugin.close)
        self.plugin.start()

    def summarise(self, content):
        with open(self.log, "wb") as opened:
            opened.write(content)
        return self.plugin.call("summarise", {"path": self.log})

    def test_counts(self):
        found = self.summarise(b"INFO a\nERROR first\nWarning: b\nfatal: last \"one\"\\\nno newline")
        self.assertEqual(found, {"lines": 5, "errors": 2, "warnings": 1, "last_error": 'fatal: last "one"\\'})
        self.assertEqual(self.summarise(b""), {"lines": 0, "errors": 0, "warnings": 0, "last_error": None})

    def test_what_is_no_text_breaks_nothing(self):
        found = self.summarise(b"ERROR \xff\xc3\xa9\x1b[31m\ttab\n" + b"x" * 100000 + b"\n")
        self.assertEqual((found["lines"], found["errors"]), (2, 1))
        self.assertEqual(found["last_error"], "ERROR ????[31m?tab")

    def test_a_log_that_cannot_be_read_is_named(self):
        with self.assertRaises(PluginFailed) as caught:
            self.plugin.call("summarise", {"path": self.log + ".gone"})
        self.assertEqual(caught.exception.data["object"], self.log + ".gone")
        self.assertEqual(caught.exception.data["operation"], "read")

    def test_it_answers_pings_and_refuses_what_it_does_not_know(self):
        self.plugin.ping()
        with self.assertRaises(PluginFailed) as caught:
            self.plugin.begin("hook", {"event": "onRequest"}).result()
        self.assertEqual(caught.exception.number, -32601)


if __name__ == "__main__":
    unittest.main()
