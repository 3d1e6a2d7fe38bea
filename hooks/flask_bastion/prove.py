"""`flask-bastion prove`: run every further attack of a service's version, which the service itself does not carry.

A service carries the core: one attack for each protection. The edges (spellings, boundaries, races) are the same for
every service, so the template keeps them in tests/edges. They are code: they are taken only from the trusted source, at
the version of the service, with a signature of its keys. They are laid over a scratch copy, so nothing stays behind.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from . import start, trust
from .previous_proofs import LEFT_BEHIND, PROOFS, no_uv, pytest_command, pytest_environment
from .repository import ANSWERS, NO_SERVICE, Repository
from .template import TemplateError
from .trust import Refused, Source

ERRORS: Final = (Refused,)
LAID: Final = f"{PROOFS}/edges"
"""Where the edges lie in the scratch copy: inside the package of the proofs, whose harness they use."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `prove`."""
    parser.add_argument("service", nargs="?", default=".", type=Path, help="the service's folder; default: this one")
    parser.add_argument("--sabotage", action="store_true", help="run each proof against its sabotaged copy instead")
    parser.add_argument("-k", dest="keyword", metavar="EXPRESSION", help="only matching proofs, as with pytest -k")
    parser.add_argument(
        "--proof-report", action="append", default=[], type=Path, metavar="FILE", help="FILE.html or FILE.json"
    )
    parser.add_argument(
        "--template",
        type=Path,
        metavar="FOLDER",
        help="a clone or mirror to fetch from; its tag of the version must be signed too",
    )
    parser.add_argument(
        "--trust", type=Path, metavar="FILE", help=f"a list of trusted sources in place of the service's {trust.FILE}"
    )


def run(options: argparse.Namespace) -> int:
    """Run core and edges on a copy of the service, which runs its code: 0 all hold, 1 not all."""
    sources = trust.listed(options.trust) if options.trust else None
    with tempfile.TemporaryDirectory(prefix="flask-bastion-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)  # started by root, PostgreSQL runs as the user nobody from the service's environment
        edges = edges_of(Repository.open(options.service), sources, options.template, folder / "template")
        copy = folder / "service"
        shutil.copytree(options.service, copy, symlinks=True, ignore=LEFT_BEHIND)
        lay(edges, copy)
        arguments = [PROOFS] if options.keyword is None else ["-k", options.keyword, PROOFS]
        arguments += ["--sabotage"] if options.sabotage else []
        arguments += [f"--proof-report={report.resolve()}" for report in options.proof_report]
        return int(_pytest(copy, arguments) != 0)


def edges_of(
    repository: Repository, sources: tuple[Source, ...] | None, folder: Path | None, into: Path
) -> Mapping[str, bytes]:
    """Fetch the edges of a service's version: each path below tests/edges, with its bytes.

    Raises TemplateError for a folder that is no service and where git fails, and Refused for a version that is not
    recorded, a source that is not trusted, and a tag that none of its keys has signed.
    """
    if not repository.is_service:
        raise TemplateError(f"{repository.tree.root} holds {NO_SERVICE}")
    begin = start.recorded(repository)
    if begin is None:
        raise Refused(f"_commit in {ANSWERS} names no version of the template, so its edges can't be fetched.")
    source = trust.trusted(repository, trust.own(repository) if sources is None else sources)
    into.mkdir()
    fetched = trust.fetch_template(source, begin.version, begin.commit, into, wanted=begin.version, folder=folder)
    found = fetched.template.release(begin.version).edges(begin.answers)
    if not found:
        raise TemplateError(f"{begin.version.text} of the template has no tests/edges for these answers.")
    return found


def lay(edges: Mapping[str, bytes], service: Path) -> None:
    """Write the edges into the proofs of a copy of a service. Raises TemplateError where it has no such folder."""
    proofs = service / PROOFS
    if proofs.is_symlink() or not proofs.is_dir():
        raise TemplateError(f"The service has no folder {PROOFS}. Restore it: flask-bastion update --restore.")
    shutil.rmtree(service / LAID, ignore_errors=True)
    for name, data in edges.items():
        target = service / LAID / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _pytest(copy: Path, arguments: Sequence[str]) -> int:
    """Run pytest in the copy's own environment, with this terminal; its exit status."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, and arguments that pytest's own parser reads
            pytest_command(*arguments),
            cwd=copy,
            env=pytest_environment(),
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise no_uv(error) from None
    return done.returncode
