import os
import shutil
import subprocess
import tempfile
import unittest

from ringfence.testing import PluginFailed, PluginHarness

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return "%016x" % value


class Checksum(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.package = os.path.join(cls.folder.name, "checksum")
        shutil.copytree(PACKAGE, cls.package)
        subprocess.run(["make", "-s", "-B", "checksum"], cwd=cls.package, check=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.plugin = PluginHarness(self.package)
        self.addCleanup(self.plugin.close)
        self.plugin.start()

    def test_texts(self):
        for text in ("", "a", "hello", 'é😀 "\\\n\t\x00\u2028', "]}{[,:", "x" * 1_000_000):
            with self.subTest(text[:20]):
                data = text.encode()
                self.assertEqual(self.plugin.call("checksum", {"text": text}), {"bytes": len(data), "fnv1a": fnv1a(data)})
        self.assertEqual(self.plugin.call("checksum"), {"bytes": 0, "fnv1a": fnv1a(b"")})

    def test_escapes(self):
        line = b'{"jsonrpc": "2.0", "id": 7, "method": "call", "params": {"tool": "checksum", "arguments": {"text": "\\ud83d\\ude00"}}}\n'
        self.plugin.send_bytes(line)
        self.plugin.ping()
        self.assertIn(fnv1a("😀".encode()).encode(), self.plugin.unexpected[0])

    def test_a_file_and_one_that_is_not_there(self):
        path = os.path.join(self.folder.name, "data")
        with open(path, "wb") as opened:
            opened.write(b"\xff\x00data")
        self.assertEqual(self.plugin.call("checksum", {"path": path})["fnv1a"], fnv1a(b"\xff\x00data"))
        with self.assertRaises(PluginFailed) as caught:
            self.plugin.call("checksum", {"path": path + ".gone"})
        self.assertEqual((caught.exception.data["operation"], caught.exception.data["object"]), ("read", path + ".gone"))

    def test_what_it_does_not_know(self):
        with self.assertRaises(PluginFailed) as caught:
            self.plugin.call("other")
        self.assertEqual(caught.exception.number, -32602)
        self.plugin.send_bytes(b"{bad\n[]\n\n" + b"[" * 1000 + b'\n{"id":1}\n')
        self.plugin.ping()


if __name__ == "__main__":
    unittest.main()
