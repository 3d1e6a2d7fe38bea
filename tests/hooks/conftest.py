"""What the tests of the command line need: a template with a past, and the command itself, intact or sabotaged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

from histories import HISTORIES, History
from support import ROOT, replace_once, run

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")  # nothing is written into this repository
# The same texts in each run, on any machine and however busy it is; as Hypothesis has it by itself where CI is set.
settings.register_profile(
    "same", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Read it; whoever edits it makes one of his own."""
    return History.make(tmp_path_factory.mktemp("history") / "flask-bastion")


@pytest.fixture(scope="session")
def advisories_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("advisories")
    for about in HISTORIES.values():
        (folder / f"{about['id']}.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


Command = Callable[..., subprocess.CompletedProcess[str]]
START = """import pathlib, sys
from flask_bastion import cli, __file__ as place
assert place.startswith(sys.argv.pop(1)), place
status = cli.main()
sys.stdout.flush()
about = pathlib.Path("/proc/self/status")  # getrusage() counts what this process was forked from
for line in about.read_text().splitlines() if about.exists() else ():
    if line.startswith("VmHWM:"):
        print("peak", line.split()[1], file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture
def command(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Command]:
    """Give the command, with edits of (module, old, new), each of which has to match exactly once.

    It ends what it prints as errors with the most memory that it had, in KiB.
    """

    def with_edits(*edits: tuple[str, str, str]) -> Command:
        hooks = tmp_path_factory.mktemp("hooks")
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "hooks" / "flask_bastion", hooks / "flask_bastion", ignore=ignored)
        for module, old, new in edits:
            replace_once(hooks / "flask_bastion" / module, old, new)

        (hooks / "start.py").write_text(START, encoding="utf-8")  # a file: Python looks beside it, not where it is run

        def flask_bastion(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
            return run(sys.executable, hooks / "start.py", hooks, *arguments, cwd=cwd)

        return flask_bastion

    return with_edits
