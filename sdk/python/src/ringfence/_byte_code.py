"""`--compile`: the byte code of this package for this interpreter, so that no start has to compile it.

Prints `{"tag": "cpython-311", "files": {"ringfence/__pycache__/_engine.cpython-311.pyc": BASE64, ...}}`. Whoever keeps the
files beside these sources answers for both being the same: they are not compared with the sources again.
"""

import binascii
import importlib.util
import marshal
import os
import sys

from . import _codec


def print_byte_code(folder: str) -> int:
    files = {}
    for name in sorted(os.listdir(folder + "/ringfence")):
        if not name.endswith(".py") or name.startswith(("testing", "fake_host")):
            continue
        path = folder + "/ringfence/" + name
        with open(path, "rb") as opened:
            source = opened.read()
        code = compile(source, path, "exec", dont_inherit=True, optimize=0)
        unchecked = (1).to_bytes(4, "little") + importlib.util.source_hash(source)
        data = importlib.util.MAGIC_NUMBER + unchecked + marshal.dumps(code)
        tag = sys.implementation.cache_tag
        files["ringfence/__pycache__/" + name[:-3] + "." + tag + ".pyc"] = binascii.b2a_base64(data, newline=False).decode()
    sys.stdout.write(_codec.encode({"tag": sys.implementation.cache_tag, "files": files}) + "\n")
    return 0
