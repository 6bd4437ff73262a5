"""Runs all tests of the SDKs, of their clients and of the examples, and ends with the line `N passed, N failed`.

    python3 sdk/run_tests.py [--python INTERPRETER]... [--node INTERPRETER]

Needs `RINGFENCE_BIN`, the program that the clients' daemons are; `cc` and `make` for the plugins in C, `rustc` for the one in Rust, `bash`, and Node 18 or later. Each interpreter given runs the tests
of the Python SDK; the first of them, or this one, those of the examples. Exit status 0 when nothing failed.
"""

import argparse
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TIMEOUT_S = 600
EXAMPLES = ["agent-runner", "plugins/notes-search", "plugins/log-summary", "plugins/csv-statistics", "demo/visitors", "demo/checksum"]


def run(command, folder, extra):
    """The output of a command and whether it succeeded."""
    environment = dict(os.environ, **extra)
    try:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error), False
    return done.stdout.decode("utf-8", "replace"), done.returncode == 0


def unittest_counts(text):
    ran = re.search(r"^Ran (\d+) tests?", text, re.MULTILINE)
    bad = sum(map(int, re.findall(r"(?:failures|errors)=(\d+)", text)))
    skipped = sum(map(int, re.findall(r"skipped=(\d+)", text)))
    count = int(ran.group(1)) if ran else 0
    return count - bad - skipped, bad, skipped


def node_counts(text):
    found = [re.search(r"^(?:#|\u2139) %s (\d+)" % word, text, re.MULTILINE) for word in ("pass", "fail", "skipped")]
    return [int(one.group(1)) if one else 0 for one in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--python", action="append", default=[])
    parser.add_argument("--node", default="node")
    given = parser.parse_args()
    pythons = given.python or [sys.executable]
    path = {"PYTHONPATH": os.path.join(ROOT, "sdk", "python", "src")}
    suites = [(python, [python, "-B", "-m", "unittest", "discover", "-s", "sdk/python/tests"], ROOT, unittest_counts)
              for python in pythons]
    for example in EXAMPLES:
        folder = os.path.join(ROOT, "examples", example)
        suites.append((example, [pythons[0], "-B", "-m", "unittest", "discover", "tests"], folder, unittest_counts))
    for folder in ("sdk/typescript/test", "examples/node-gateway/test", "examples/plugins/rate-limiter/test"):
        files = sorted(name for name in os.listdir(os.path.join(ROOT, folder)) if name.endswith(".test.mjs"))
        suites.append((folder, [given.node, "--test"] + files, os.path.join(ROOT, folder), node_counts))
    total = [0, 0]
    for name, command, folder, counts in suites:
        text, succeeded = run(command, folder, path)
        passed, failed, skipped = counts(text)
        if failed == 0 and not (succeeded and passed + skipped):
            failed = 1  # It did not even get as far as counting, or found nothing to run.
        print("%s: %d passed, %d failed" % (name, passed, failed), flush=True)
        for _ in range(skipped):
            print("skipped: needs what a test of %s asks for" % name, file=sys.stderr, flush=True)
        if failed:
            print(text, flush=True)
        total = [total[0] + passed, total[1] + failed]
    print("%d passed, %d failed" % tuple(total))
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
