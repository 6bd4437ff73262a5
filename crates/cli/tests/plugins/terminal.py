"""terminal.py COMMAND... : runs the command at a terminal of its own and types a line of standard input at each question, after running MEANWHILE."""
import os
import pty
import select
import subprocess
import sys

answers = sys.stdin.buffer.read().splitlines(keepends=True)
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
output = b""
while True:
    ready, _, _ = select.select([terminal], [], [], 60)
    if not ready:
        sys.exit("nothing came for a minute after: " + output.decode())
    try:
        block = os.read(terminal, 4096)
    except OSError:
        break
    if not block:
        break
    output += block
    if answers and output.endswith(b"] "):
        meanwhile = os.environ.get("MEANWHILE")
        if meanwhile:
            subprocess.run(["/bin/sh", "-c", meanwhile], check=True, stdin=subprocess.DEVNULL, capture_output=True)
        os.write(terminal, answers.pop(0).replace(b"^C\n", b"\x03").replace(b"^D\n", b"\x04"))
_, status = os.waitpid(child, 0)
sys.stdout.buffer.write(output.replace(b"\r\n", b"\n"))
sys.exit(os.waitstatus_to_exitcode(status))
