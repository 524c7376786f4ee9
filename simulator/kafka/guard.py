"""Runs one server and takes it down when whoever started it is gone, even by SIGKILL.

Started as a script by ``processes.py`` and ``dev.servers.engine``, so that it loads nothing but the standard
library (and Docker's client, at the very end of a container)::

    guard.py process <stop signal> <user or -> <folder or -> -- <command …>
        prints the child's pid, then waits for its end; removes the folder if the starter died
    guard.py container <name>
        removes the container at the end

Standard input is a pipe that only the starter holds: its end means that the starter is dead. One ``k`` on
it means *keep*: from then on the guard only waits. It is not a supervisor: it never restarts anything.
"""

import contextlib
import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading

STOP_WITHIN_S = 10.0
"""How long a server may take to stop, in s, after its starter died; then it is killed."""

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> int:
    """Exits as the child did: with its code, or by its signal."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the starter decides, by closing the pipe
    if arguments[0] == "container":
        if not _kept():
            _remove_container(arguments[1])
        return 0
    stop_signal, user, scratch, command = int(arguments[1]), arguments[2], arguments[3], arguments[5:]
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),  # the log; our own standard output only carries the pid
        preexec_fn=_before_exec,
        user=None if user == "-" else user,
        group=None if user == "-" else _group(user),
        extra_groups=None if user == "-" else [],
    )
    orphaned = threading.Event()
    with contextlib.suppress(BrokenPipeError):  # the starter died meanwhile
        os.write(1, b"%d\n" % child.pid)
    os.close(1)

    def watch() -> None:
        if _kept():
            return
        orphaned.set()
        child.send_signal(stop_signal)
        try:
            child.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            child.kill()  # also ends a stopped (SIGSTOP) one

    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    if orphaned.is_set() and scratch != "-":
        shutil.rmtree(scratch, ignore_errors=True)
    if code < 0:  # end by the same signal, so that the starter sees what happened
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _kept() -> bool:
    """Waits for the end of standard input; whether the starter asked for the server to be kept."""
    return os.read(0, 1) == b"k"


def _remove_container(name: str) -> None:
    import docker
    from docker.errors import DockerException

    with contextlib.suppress(DockerException):  # a container that is gone already
        docker.from_env().containers.get(name).remove(force=True, v=True)


def _before_exec() -> None:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":  # elsewhere a killed guard leaves its child; a killed starter never does
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _group(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
