import os
import tempfile
import unittest

from ringfence.testing import PluginFailed, PluginHarness, matrix

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Visitors(unittest.TestCase):
    def test_visits_are_counted(self):
        with PluginHarness(PACKAGE, config={"greeting": "Hi"}) as plugin:
            self.assertEqual(plugin.call("greet", {"name": "Ada"}), {"text": "Hi, Ada!", "visits": 1})
            self.assertEqual(plugin.call("greet", {"name": "Ada"})["visits"], 2)
            self.assertEqual(plugin.call("greet"), {"text": "Hi, stranger!", "visits": 1})
            plugin.change_config({"greeting": "Bye"})
            self.assertEqual(plugin.call("greet")["text"], "Bye, stranger!")

    def test_the_guest_book_with_the_grant_and_without(self):
        with tempfile.TemporaryDirectory() as folder:
            page = os.path.join(os.path.realpath(folder), "today.txt")
            with open(page, "w") as opened:
                opened.write("Ada was here\n")
            for case in matrix(["file:read=" + page]):
                with self.subTest(off=case.off), PluginHarness(PACKAGE, grants=case.grants) as plugin:
                    if case.off is None:
                        self.assertEqual(plugin.call("guest_book", {"page": page}), ["Ada was here"])
                    else:
                        with self.assertRaises(PluginFailed) as caught:
                            plugin.call("guest_book", {"page": page})
                        self.assertEqual(caught.exception.data["object"], page)


if __name__ == "__main__":
    unittest.main()
