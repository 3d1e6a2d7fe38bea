"""git as a program of ours: it asks nothing, talks over no protocol that was not named, and ends in time.

An address may name a program (ext::), and a variable of the environment another repository than the one that was meant.
A repository that is not ours is reached through borrowed.py only, because its configuration, attributes and hooks name
programs that git runs; git runs directly from here only in repositories that this program has made.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from . import escape

SECONDS: Final = 60.0
"""For one command on this machine."""
_OPTIONS: Final = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.alternateRefsCommand=",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "protocol.ext.allow=never",
)
_KEPT: Final = frozenset(
    {
        "GIT_ASKPASS", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM", "GIT_EXEC_PATH", "GIT_SSH",
        "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_TRACE",
    }
)  # fmt: skip
"""The caller's own access to git servers; every other GIT_ variable is left out."""


class GitError(Exception):
    """git failed. The text is the last line that it printed, without what may be a secret in an address."""


def git(
    *arguments: str,
    at: Sequence[str],
    data: bytes = b"",
    protocols: str = "none",
    environment: Mapping[str, str] | None = None,
    goes_on: bool = False,
    seconds: float = SECONDS,
) -> bytes:
    """What git prints. `at` says where: ("-C", folder) or ("--git-dir", folder), a repository of ours; () for none.

    It may talk over `protocols` only (separated by colons), asks no questions, and is ended after `seconds`, or when
    this process is interrupted; if it `goes_on`, this process waits for it then. Raises GitError.
    """
    options = [part for option in _OPTIONS for part in ("-c", option)]
    place = at or ("-C", os.sep)
    try:
        process = subprocess.Popen(  # noqa: S603 - a fixed program, and arguments that were checked
            ["git", "--no-pager", *options, *place, *arguments],  # noqa: S607 - the caller's git, as installed
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(protocols) | dict(environment or {}),
            start_new_session=True,  # Ctrl-C is for us
        )
    except OSError as error:
        raise GitError(f"git did not run ({error.strerror}). Install git.") from None
    try:
        out, said = process.communicate(data, timeout=seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        raise GitError(f"git {_verb(arguments)} took longer than {seconds:.0f} seconds.") from None
    except BaseException:
        if goes_on:
            process.communicate()
        else:
            _end(process)
        raise
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise GitError(f"git {_verb(arguments)}: {escape.address(reason(lines))}")
    return out


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with what it has started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _verb(arguments: Sequence[str]) -> str:
    """What git is asked to do: the first argument that is neither -c nor what follows it."""
    return next(one for before, one in zip(("", *arguments), arguments, strict=False) if "-c" not in (before, one))


def _environment(protocols: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in _KEPT}
    return kept | {
        "GIT_ALLOW_PROTOCOL": protocols,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "LC_ALL": "C.UTF-8",
    }


ISOLATED: Final = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
"""An environment in which no configuration of a person or machine counts, for what has to be the same everywhere."""


def reason(lines: Sequence[str]) -> str:
    """The line that says why: the last that git marks as an error, or the last of all."""
    marked = [line for line in lines if line.startswith(("fatal: ", "error: "))]
    why = (marked or lines)[-1]
    return f"{why}. If you trust it: {lines[-1].strip()}" if "dubious ownership" in why else why
