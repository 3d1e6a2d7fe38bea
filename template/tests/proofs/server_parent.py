"""A process that has imported the service's libraries, and forks for each real server: a start then takes a moment.

It stops proofs with a real server from being left out because they take too long. The service itself is imported
behind the fork, from the folder that is asked for. Run by real_server.py; it ends when nobody can ask any more.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any


def main() -> None:
    """Fork for each request on the socket of that number. The names of the libraries come as JSON on standard input."""
    del sys.path[0]  # the folder of this file, whose names no library means
    asked = socket.socket(fileno=int(sys.argv[1]))
    for name in json.load(sys.stdin):
        with contextlib.suppress(Exception):  # whoever needs it is told
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that watch
    while True:
        data, files, _flags, _address = socket.recv_fds(asked, 1, 3)
        if not data:
            break
        if os.fork() == 0:
            asked.close()
            _watch(*files)
            break
        for file in files:
            os.close(file)


def _watch(number: int, listener: int, output: int) -> None:
    """Start one server, tell its process id and at last its exit code, and end it if the one who asked is gone."""
    connection = socket.socket(fileno=number)
    with connection.makefile("r", encoding="utf-8") as lines:
        order: dict[str, Any] = json.loads(lines.readline())
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (connection, woken, wakes):
            one.close()
        _serve(listener, output, **order)
        return
    os.close(listener)
    os.close(output)
    with contextlib.suppress(OSError):  # he is gone already
        connection.sendall(b"%d\n" % pid)
    while True:
        ready, _, _ = select.select([connection, woken], [], [])
        if connection in ready:
            with contextlib.suppress(ProcessLookupError):  # it may not lead its group yet
                os.killpg(pid, signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)  # not waited for: the number is still its own
            os.waitpid(pid, 0)
            os._exit(0)
        woken.recv(64)
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            with contextlib.suppress(OSError):
                connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
            os._exit(0)


def _serve(listener: int, output: int, *, program: str, path: str, folder: str, variables: dict[str, str]) -> None:
    """Be what `python -c program` would be, in this folder and environment, with `path` as PYTHONPATH."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[:0] = ["", path]
    sys.dont_write_bytecode = True
    exec(compile(program.replace("LISTENER", str(listener)), "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102


if __name__ == "__main__":
    main()
