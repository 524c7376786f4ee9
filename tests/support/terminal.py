"""Commands on a terminal, as a person meets them: they draw, ask, and heed the answer."""

import os
import pty
import re
import subprocess
import termios

from tests.support.processes import command, environment

QUESTION = "[y/N]"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(env, folder, *arguments, answer=""):
    """Run ``dingbridge <arguments>`` on a terminal of 200 columns; returns its exit code and what it shows.
    The question is answered with ``answer``."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 200))
    process = subprocess.Popen(
        command(*arguments),
        env=environment(env, {"TERM": "xterm"}),
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = ""
    try:
        while True:
            try:
                read = os.read(ours, 65_536)
            except OSError:  # Linux: the other side is closed
                break
            if not read:
                break
            shown += read.decode(errors="replace")
            if answer and QUESTION in shown:
                os.write(ours, f"{answer}\n".encode())
                answer = ""
        return process.wait(60), CONTROL.sub("", shown)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
