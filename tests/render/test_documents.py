"""What documents say is rendered from data: a table that is typed is wrong after the next change."""

from __future__ import annotations

import subprocess
import sys

from support import ROOT


def test_the_readme_s_table_of_protections_is_up_to_date() -> None:
    """Ids, modules and proofs in README.md are those of the catalogue and the proofs."""
    done = subprocess.run([sys.executable, "docs/tables.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
