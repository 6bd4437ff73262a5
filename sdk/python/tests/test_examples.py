"""The three plugins of docs/protocol.md, which use no SDK: quoted as they are, and driven over pipes."""

import os
import shutil
import subprocess
import unittest

from support import ROOT, PluginTest

from ringfence.testing import PluginHarness

EXAMPLES = os.path.join(ROOT, "examples", "protocol")
FILES = {"python": "word-count.py", "shell": "greet.sh", "c": "add.c"}


def read(*parts):
    with open(os.path.join(ROOT, *parts), encoding="utf-8") as opened:
        return opened.read()


class Quoted(unittest.TestCase):
    def test_the_document_quotes_each_file_as_it_is(self):
        document = read("docs", "protocol.md")
        for folder, name in FILES.items():
            with self.subTest(name):
                self.assertIn("\n" + read("examples", "protocol", folder, name).rstrip("\n") + "\n```\n", document)

    def test_the_shell_plugins_fork_nothing(self):
        # Inside the sandbox a fork needs subprocess:execute, which neither asks for; the harness would not notice.
        for parts in (("examples", "protocol", "shell", "greet.sh"), ("examples", "plugins", "log-summary", "log-summary.sh")):
            code = "\n".join(line.split("  #")[0] for line in read(*parts).splitlines() if not line.startswith("#"))
            for forks in ("$(", "`", " | ", " &\n", "<("):
                with self.subTest(parts[-1], forks=forks):
                    self.assertNotIn(forks, code.replace("ping | shutdown | config_changed | handle_event)", ""))

    def test_each_is_about_thirty_lines(self):
        for folder, name in FILES.items():
            self.assertLessEqual(len(read("examples", "protocol", folder, name).splitlines()), 40)


class Driven(PluginTest):
    def drive(self, folder, calls):
        package = os.path.join(self.folder, folder)
        shutil.copytree(os.path.join(EXAMPLES, folder), package)
        if folder == "c":
            command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-std=c11", "-o", "add", "add.c"]
            subprocess.run(command, cwd=package, check=True)
        with PluginHarness(package) as plugin:
            self.assertEqual(plugin.initialized["protocol_version"], "1")
            for tool, arguments, expected in calls:
                self.assertEqual(plugin.call(tool, arguments), expected)
            plugin.ping()
            self.assertEqual(self.failure(plugin.begin("unknown_method", {}).result).number, -32601)
            plugin.notify("$/cancel", {"id": 0})
            pending = [plugin.start_call(*calls[0][:2]) for _ in range(64)]
            self.assertEqual([one.result() for one in pending], [calls[0][2]] * 64)
            self.assertIsNone(plugin.begin("shutdown", {}).result())
            plugin.close_input()
            self.assertEqual(plugin.wait(2), 0)
            self.assertEqual(plugin.unexpected, [])

    def test_python(self):
        self.drive("python", [("count", {"text": "one two  three"}, {"words": 3, "letters": 11}), ("count", {}, {"words": 0, "letters": 0})])

    def test_shell(self):
        self.drive("shell", [("greet", {"name": 'Zoë "Z" \\'}, {"greeting": 'Hello, Zoë "Z" \\!'}), ("greet", {}, {"greeting": "Hello, world!"})])

    def test_c(self):
        self.drive("c", [("add", {"a": 40, "b": 2}, {"sum": 42}), ("add", {"a": -5000000000, "b": 1}, {"sum": -4999999999})])


if __name__ == "__main__":
    unittest.main()
