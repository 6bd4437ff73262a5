"""Every Python example of the pages runs as it stands, beside the package `hello` of the README."""

import os
import re
import sys

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]

from client_support import BINARY, ROOT, Case, script  # noqa: E402


def text_of(*place):
    with open(os.path.join(ROOT, *place), encoding="utf-8") as opened:
        return opened.read()


def blocks(text, language):
    return re.findall(r"^```%s\n(.*?)^```$" % language, text, re.MULTILINE | re.DOTALL)


class Pages(Case):
    def test_every_example_runs(self):
        os.mkdir(os.path.join(self.directory, "hello"))
        readme = text_of("README.md")
        for name, content in re.findall(r"^cat > (hello/\S+) <<'END'\n(.*?)^END$", readme, re.MULTILINE | re.DOTALL):
            with open(os.path.join(self.directory, name), "w") as opened:
                opened.write(content)
        pages = {"README.md": readme, "docs/host-clients.md": text_of("docs", "host-clients.md"),
                 "sdk/python/README.md": text_of("sdk", "python", "README.md")}
        ran = []
        for page, text in pages.items():
            for block in blocks(text, "python"):
                if "ringfence.client" not in block:
                    continue
                process = script(block, cwd=self.directory, environment={"RINGFENCE_BIN": os.path.abspath(BINARY)})
                out, err = (said.decode() for said in process.communicate(timeout=120))
                self.assertEqual((process.returncode, err), (0, ""), "%s:\n%s" % (page, block))
                ran.append((page, out))
        said = "\n".join(out for _, out in ran)
        for words in ("file:read=", "to read your notes", "{'greeting': 'Hello, Ada!'}", "conflict - read it again",
                      "['file:read=/srv/notes/**']", "hello started", "stdout one\nstderr two\n0", "Hello, Barbara!"):
            self.assertIn(words, said)
        self.assertEqual({page for page, _ in ran}, set(pages))
