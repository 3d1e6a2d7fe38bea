"""Mutates the protections of rendered services, and shows which changes no proof notices.

    uv run python scripts/mutate.py --share 5%                    (a quick look)
    uv run python scripts/mutate.py --only identity/sessions.py   (one module)
    uv run python scripts/mutate.py --share 25% --seed 2026-12-01 (as .ci/nightly did on that day)
    uv run python scripts/mutate.py                               (everything: many hours)

What was found is kept in .mutation/, so a run that was stopped goes on where it was. The code is in tests/mutation/.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    sys.exit(importlib.import_module("mutation.command").main())
