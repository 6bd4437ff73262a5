"""The agent runner with its plugins, as a person runs it, and as an application."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [HERE]

import agent_runner  # noqa: E402
from ringfence.client import Host, Usage  # noqa: E402

BINARY = os.environ.get("RINGFENCE_BIN")


@unittest.skipUnless(BINARY, "needs RINGFENCE_BIN")
class AgentRunner(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = os.path.realpath(directory.name)
        self.notes = os.path.join(self.directory, "notes.txt")
        with open(self.notes, "w") as opened:
            opened.write("tea tea milk sk-0123456789abcdef")
        self.plan = os.path.join(self.directory, "plan.json")
        with open(self.plan, "w") as opened:
            json.dump([{"tool": "file-notes", "arguments": {"path": self.notes}},
                       {"tool": "word-count", "arguments": {"text": "$LAST", "most": 1}}], opened)

    def run_plan(self, *words):
        done = subprocess.run([sys.executable, "-B", os.path.join(HERE, "agent_runner.py"), self.plan, *words],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        self.assertEqual(done.stderr, b"")
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def test_a_plan_runs_with_what_was_granted(self):
        status, steps = self.run_plan("--grant", "file-notes:file:read=" + self.notes)
        self.assertEqual(steps, [{"file-notes": "tea tea milk [hidden]"}, {"word-count": {"words": 4, "most": ["tea"]}}])
        self.assertEqual(status, 0)

    def test_a_plan_ends_where_something_was_not_granted(self):
        status, steps = self.run_plan()
        self.assertEqual((status, len(steps)), (1, 1))
        failed = steps[0]["file-notes"]
        self.assertEqual(failed["error"], "plugin_failed")
        self.assertIn("file:read=" + self.notes, failed["hint"], "it is said which grant would help")

    def test_tools_describe_themselves_and_a_class_of_another_type_is_refused(self):
        stranger = os.path.join(self.directory, "stranger")
        os.mkdir(stranger)
        with open(os.path.join(stranger, "stranger.py"), "w") as opened:
            opened.write("class Stranger:\n    def run(self, arguments):\n        return 1\n")
        manifest = os.path.join(stranger, "plugin.yaml")
        with Host.start(config={"plugin_types": agent_runner.TYPES}) as host:
            runner = agent_runner.Runner(host)
            runner.load(os.path.join(HERE, "plugins"), {})
            self.assertEqual(runner.tools(), {"file-notes": "Reads a file with notes.", "word-count": "Counts the words of a text."})
            self.assertEqual([tool["name"] for tool in host.show("word-count")["manifest"]["tools"]], ["describe", "run"])
            for kind, reason in (("tool", "does not derive from agent.plugins.Tool"), ("wizard", "no plugin type 'wizard'")):
                with open(manifest, "w") as opened:
                    opened.write("name: stranger\nversion: 1.0.0\ntype: %s\nentry_point: stranger.Stranger\nenabled: true\n" % kind)
                with self.assertRaises(Usage) as refused:
                    host.install(stranger)
                self.assertEqual(refused.exception.code, "invalid_package")
                self.assertIn(reason, refused.exception.message)


if __name__ == "__main__":
    unittest.main()
