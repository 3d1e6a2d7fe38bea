"""The page for platform teams is run as it stands: what it tells a reader to type, and what it says he will see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from signed import needs_ssh_keygen
from support import ROOT, run

TUTORIAL = ROOT / "docs" / "tutorial.py"
PAGE = """# A page

```bash
mkdir folder && cd folder
```

```bash
pwd
echo "and $(date -u +%F)" >&2
```

```text
/home/you/platform/folder
and 2027-03-01
```

```bash exit=3
exit_with() { return "$1"; }; exit_with 3
```
"""


def tutorial(*arguments: str | Path, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, TUTORIAL, *arguments, seconds=seconds)


def test_every_command_of_the_page_does_what_it_says() -> None:
    """From an empty folder: a template of one's own, three services, a fix, who has it, and then all."""
    needs_ssh_keygen()
    result = tutorial("--check", seconds=600)
    assert result.returncode == 0, result.stderr


def test_a_page_that_shows_what_is_printed_is_good(tmp_path: Path) -> None:
    """One shell for all blocks, whose folder and day are shown as others that stay the same."""
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    assert tutorial(page, "--check").returncode == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("platform/folder\n", "platform/other\n", "+/home/you/platform/folder"),
        ("and 2027-03-01\n", "", "+and 2027-03-01"),
        ("pwd\n", "true\n", "-/home/you/platform/folder"),
        ("cd folder\n", "cd folder\necho more\n", "+more"),
        ("bash exit=3", "bash", 'exit_with() { return "$1"; }; exit_with 3'),
        ("pwd\n", "cat absent\npwd\n", "+cat: absent: No such file or directory"),
    ],
    ids=["other-text", "less-text", "less-printed", "more-printed", "other-status", "fails"],
)
def test_a_page_that_shows_something_else_is_not(tmp_path: Path, old: str, new: str, said: str) -> None:
    page = tmp_path / "page.md"
    wrong = PAGE.replace(old, new, 1)
    page.write_text(wrong, encoding="utf-8")
    result = tutorial(page, "--check")
    assert result.returncode == 1
    assert said in result.stderr
    assert page.read_text(encoding="utf-8") == wrong


def test_what_is_printed_is_written_below_the_commands(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("and 2027-03-01", "nothing"), encoding="utf-8")
    assert tutorial(page).returncode == 0
    assert page.read_text(encoding="utf-8") == PAGE
