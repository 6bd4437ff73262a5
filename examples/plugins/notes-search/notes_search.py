"""Finds words in a folder of Markdown notes.

The words of each note are kept in the plugin's own store with the time of the file, so that a search reads only what has changed.
"""

import os
import re
from typing import Any, Dict, Iterator, List, Tuple

from ringfence import host, tool

NOTE_MAX_BYTES = 1_000_000
WORDS_MAX = 5_000
_WORD = re.compile(r"\w{2,40}", re.UNICODE)
_read_again = 0


@tool(name="search")
def search(query: str = "", limit: int = 10) -> List[Dict[str, Any]]:
    """Finds notes that have all of the words, best first."""
    wanted = set(_words(query))
    if not wanted:
        return []
    found = []
    notes = list(_notes())
    for number, (path, title, counts) in enumerate(notes):
        if host.cancelled():
            break
        host.progress(number + 1, len(notes))
        score = sum(counts.get(word, 0) for word in wanted)
        if wanted <= counts.keys():
            found.append({"path": path, "title": title, "score": score})
    found.sort(key=lambda note: (-note["score"], note["path"]))
    return found[:limit]


@tool(name="statistics")
def statistics() -> Dict[str, int]:
    """How many notes there are, and how many were read again for the last search."""
    return {"notes": sum(1 for _ in _files(_folder())), "read_again": _read_again}


def _folder() -> str:
    return str(host.config.get("folder", "/srv/notes"))


def _notes() -> Iterator[Tuple[str, str, Dict[str, int]]]:
    global _read_again
    _read_again = 0
    for path in _files(_folder()):
        status = os.stat(path)
        stamp = [status.st_mtime_ns, status.st_size]
        known = host.load_plugin_data("note:" + path)
        if known is None or known["stamp"] != stamp:
            _read_again += 1
            known = _index(path, stamp)
            host.store_plugin_data("note:" + path, known)
        yield path, known["title"], known["words"]


def _index(path: str, stamp: List[int]) -> Dict[str, Any]:
    with open(path, encoding="utf-8", errors="replace") as opened:
        text = opened.read(NOTE_MAX_BYTES)
    counts: Dict[str, int] = {}
    for word in _words(text):
        if word in counts or len(counts) < WORDS_MAX:
            counts[word] = counts.get(word, 0) + 1
    first = text.lstrip().split("\n", 1)[0]
    return {"stamp": stamp, "title": first.lstrip("# ").strip()[:200], "words": counts}


def _files(folder: str) -> Iterator[str]:
    for where, folders, names in os.walk(folder, onerror=_raise):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".md"):
                yield os.path.join(where, name)


def _raise(error: OSError) -> None:
    raise error  # `os.walk` is silent by default, and an empty answer would look like "nothing found"


def _words(text: str) -> List[str]:
    return [word.lower() for word in _WORD.findall(text)]
