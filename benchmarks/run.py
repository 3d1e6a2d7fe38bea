"""Measures this template and what it renders against its peers, interleaved in one run, and prints ratios as tables.

    python benchmarks/run.py [--only rendering page call boot] [--server] [--database postgresql]

Needs Python 3.11, git and uv. It makes a virtual environment of its own beside this file, and works in a temporary
folder and on loopback only. `--check` makes a missed budget an error.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PARTS = ("rendering", "page", "call", "boot")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--in-process", dest="server", action="store_false", help="call each app directly (default)")
    mode.add_argument("--server", action="store_true", help="under gunicorn, 1 worker and 4 threads, on loopback")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--rounds", type=int, default=25, help="rounds of a page or call, 5 to 200 (default 25)")
    parser.add_argument("--requests", type=int, default=300, help="requests of one block, 50 to 5,000 (default 300)")
    parser.add_argument("--starts", type=int, default=7, help="renderings and starts of each, 3 to 50 (default 7)")
    parser.add_argument("--seconds", type=int, default=120, help="end a page or call after this time, 10 to 240")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a budget is missed")
    parser.add_argument("--profile", choices=("page", "call"), help="print where a request of ours spends its time")
    parser.set_defaults(server=False)
    chosen = parser.parse_args()
    for name, least, most in (("rounds", 5, 200), ("requests", 50, 5000), ("starts", 3, 50), ("seconds", 10, 240)):
        if not least <= getattr(chosen, name) <= most:
            parser.error(f"--{name} must be from {least} to {most}")
    return chosen


def in_own_environment() -> None:
    """Go on in benchmarks/.venv with the peers installed, which is made first if need be."""
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit("uv is needed to make the benchmark's environment: install uv first.")
    if not VENV.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(VENV)], check=True)
    python = str(VENV / "bin" / "python")
    wanted = str(HERE / "requirements.txt")
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "-r", wanted], check=True)
    os.execv(python, [python, str(Path(__file__).resolve()), *sys.argv[1:]])


if __name__ == "__main__":
    chosen = arguments()
    if Path(sys.prefix).resolve() != VENV:
        in_own_environment()
    from measure import measure

    raise SystemExit(measure(chosen))
