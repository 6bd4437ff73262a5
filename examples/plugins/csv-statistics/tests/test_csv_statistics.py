import os
import shutil
import subprocess
import tempfile
import unittest

from ringfence.testing import PluginFailed, PluginHarness

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class CsvStatistics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.package = os.path.join(cls.folder.name, "csv-statistics")
        shutil.copytree(PACKAGE, cls.package)
        subprocess.run(["make", "-s", "-B", "csv-statistics"], cwd=cls.package, check=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.plugin = PluginHarness(self.package)
        self.addCleanup(self.plugin.close)
        self.plugin.start()

    def columns(self, text):
        return self.plugin.call("columns", {"text": text})

    def test_numeric_columns(self):
        found = self.columns("name,price,count\napple,1.5,2\npear,2.5,4\nplum,n/a,0\n")
        self.assertEqual(found, {"rows": 3, "columns": {
            "price": {"count": 2, "sum": 4, "mean": 2, "least": 1.5, "greatest": 2.5},
            "count": {"count": 3, "sum": 6, "mean": 2, "least": 0, "greatest": 4},
        }})

    def test_quotes_line_ends_and_odd_names(self):
        found = self.columns('"a ""b"", é😀",x\r\n"1",2\r\n3,"4"')
        self.assertEqual(found["rows"], 2)
        self.assertEqual([(name, one["sum"]) for name, one in found["columns"].items()], [('a "b", é😀', 4), ("x", 6)])

    def test_little_and_strange_input(self):
        for text in ("", "a", "a\n", ",,,\n,,,\n", '"', "a\n1e999\nnan\n", "\x01\n5", "x" * 300 + "\n1\n", "\n" * 1000):
            with self.subTest(text[:20]):
                self.assertIn("rows", self.columns(text))
        self.assertEqual(self.plugin.call("columns", {}), {"rows": 0, "columns": {}})

    def test_a_text_that_looks_like_a_message(self):
        text = 'a"}},"id":9,"method":"shutdown",{"text":"\n1\n'
        self.assertEqual(self.columns(text)["rows"], 1)

    def test_a_file_and_one_that_is_not_there(self):
        path = os.path.join(self.folder.name, "a.csv")
        with open(path, "w") as opened:
            opened.write("n\n1\n2\n")
        self.assertEqual(self.plugin.call("columns", {"path": path})["columns"]["n"]["mean"], 1.5)
        with self.assertRaises(PluginFailed) as caught:
            self.plugin.call("columns", {"path": path + ".gone"})
        self.assertEqual((caught.exception.data["operation"], caught.exception.data["object"]), ("read", path + ".gone"))

    def test_many_rows(self):
        found = self.columns("n\n" + "".join("%d\n" % n for n in range(200_000)))
        self.assertEqual((found["rows"], found["columns"]["n"]["greatest"]), (200_000, 199_999))


if __name__ == "__main__":
    unittest.main()
