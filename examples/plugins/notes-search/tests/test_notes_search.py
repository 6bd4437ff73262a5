import os
import tempfile
import unittest

from ringfence.testing import PluginFailed, PluginHarness, matrix

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class NotesSearch(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.notes = os.path.realpath(folder.name)
        self.write("garden.md", "# The garden\nTulips and roses, roses.")
        os.mkdir(os.path.join(self.notes, "trips"))
        self.write("trips/rome.md", "# Rome\nRoses in the garden of the villa.")
        self.write("ignored.txt", "roses")

    def write(self, name, text):
        with open(os.path.join(self.notes, name), "w", encoding="utf-8") as opened:
            opened.write(text)

    def start(self, grants):
        plugin = PluginHarness(PACKAGE, grants=grants, config={"folder": self.notes})
        self.addCleanup(plugin.close)
        return plugin.start()

    def test_with_the_grant_and_without(self):
        for case in matrix(["file:read=" + self.notes + "/**"]):
            with self.subTest(off=case.off):
                plugin = self.start(case.grants)
                if case.off is None:
                    found = plugin.call("search", {"query": "roses"})
                    self.assertEqual([note["title"] for note in found], ["The garden", "Rome"])
                else:
                    with self.assertRaises(PluginFailed) as caught:
                        plugin.call("search", {"query": "roses"})
                    self.assertEqual(caught.exception.data["operation"], "read")
                    self.assertEqual(caught.exception.data["object"], self.notes)

    def test_all_words_must_be_there(self):
        plugin = self.start(["file:read=" + self.notes + "/**"])
        self.assertEqual(len(plugin.call("search", {"query": "Roses GARDEN"})), 2)
        self.assertEqual(len(plugin.call("search", {"query": "roses villa"})), 1)
        self.assertEqual(plugin.call("search", {}), [])
        self.assertEqual(len(plugin.call("search", {"query": "garden", "limit": 1})), 1)

    def test_only_what_changed_is_read_again(self):
        plugin = self.start(["file:read=" + self.notes + "/**"])
        for expected in (2, 0):
            plugin.call("search", {"query": "roses"})
            self.assertEqual(plugin.call("statistics"), {"notes": 2, "read_again": expected})
        self.write("garden.md", "# The garden\nNothing grows here any more.")
        self.assertEqual(len(plugin.call("search", {"query": "roses"})), 1)
        self.assertEqual(plugin.call("statistics")["read_again"], 1)


if __name__ == "__main__":
    unittest.main()
