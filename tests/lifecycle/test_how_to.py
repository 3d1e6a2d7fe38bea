"""What a page tells a platform team to type or to write is typed and written as it stands there, and works."""

from __future__ import annotations

import re
import shutil
import sys
from datetime import date
from pathlib import Path

import pytest

from flask_bastion import waivers
from flask_bastion.tree import Tree
from services import Service
from support import IDENTITY, ROOT, Combination, Repository, answers_of, copy_of_the_template, done, git, run

PAGES = ROOT / "docs" / "how-to"


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page that are in a language."""
    return re.findall(
        rf"^```{language}\n(.*?)^```", (PAGES / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def release(repository: Repository, tag: str) -> None:
    """A version as a reader finds it: an annotated tag."""
    repository.release(tag)
    git(repository.path, "tag", "--force", "--annotate", "--message", tag, tag)


def test_a_mirror_gets_one_version_after_the_other_and_a_fork_merges_them(tmp_path: Path) -> None:
    upstream = Repository.make(tmp_path / "upstream")
    release(upstream, "v1.0.0")
    git(tmp_path, "init", "--quiet", "--bare", "mirror.git")
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    places = {"UPSTREAM": str(upstream.path), "MIRROR": str(tmp_path / "mirror.git"), "PATH": path}
    clone, later, render, merge = blocks("fork-or-mirror.md", "bash")

    def type_in(commands: str, folder: Path) -> None:
        done(run("bash", "-euo", "pipefail", "-c", commands, cwd=folder, env={**IDENTITY, **places}))

    type_in(clone, tmp_path)
    (answers,) = blocks("fork-or-mirror.md", "yaml")
    (tmp_path / "acme.yml").write_text(answers, encoding="utf-8")
    type_in(render.replace("copy ", "copy --defaults --quiet "), tmp_path)
    assert answers_of(tmp_path / "orders").items() >= {"secrets": "vault", "database": "postgresql"}.items()
    assert answers_of(tmp_path / "orders")["_commit"] == "v1.0.0"

    release(upstream, "v1.0.1")
    assert git(tmp_path / "mirror.git", "tag").split() == ["v1.0.0"], "a tag arrives when somebody has looked at it"
    type_in(later, tmp_path)
    assert git(tmp_path / "mirror.git", "tag").split() == ["v1.0.0", "v1.0.1"]
    assert git(tmp_path / "mirror.git", "rev-parse", "main") == git(upstream.path, "rev-parse", "main")

    git(tmp_path, "clone", "--quiet", "--no-tags", upstream.path.as_posix(), "fork")
    release(upstream, "v1.1.0")
    type_in(merge, tmp_path / "fork")
    git(tmp_path / "fork", "merge-base", "--is-ancestor", git(upstream.path, "rev-parse", "main").strip(), "HEAD")
    assert git(tmp_path / "fork", "tag") == "", "its versions are its own"


@pytest.mark.nightly
def test_a_protection_of_ones_own_is_proven_like_ours(tmp_path: Path) -> None:
    fork = copy_of_the_template(tmp_path / "fork")
    for name in ("docs", "tests"):
        shutil.copytree(ROOT / name, fork / name, ignore=shutil.ignore_patterns("__pycache__", "locks"))
    shutil.copy2(ROOT / "README.md", fork)
    bastion, proofs = fork / "template/src/{{package_name}}/bastion", fork / "template/tests/proofs"

    ((row,), (module, line, proof)) = (blocks("own-protections.md", language) for language in ("csv", "python"))
    with (proofs / "catalogue/both.csv").open("a", encoding="utf-8") as catalogue:
        catalogue.write(row)
    (bastion / "unlisted.py").write_text(module, encoding="utf-8")
    (proofs / "test_unlisted.py").write_text(proof, encoding="utf-8")
    init = (bastion / "__init__.py").read_text(encoding="utf-8")
    init = init.replace("    throttle,\n)\n", "    throttle,\n    unlisted,\n)\n")
    init = init.replace("    extend(app)  # what the team adds\n", f"{line}    extend(app)  # what the team adds\n")
    (bastion / "__init__.py").write_text(init, encoding="utf-8")
    done(run(sys.executable, "docs/tables.py", cwd=fork))

    git(fork, "init", "--quiet", "--initial-branch", "main")
    Repository(fork).release("v1.0.0")
    combination = Combination("session", "sqlite", "env")
    service = Service.start(fork, tmp_path / "service", **combination.data)
    service.install(combination)
    result = service.pytest("-q", "tests/proofs/test_unlisted.py", "tests/proofs/test_catalogue.py")
    assert result.returncode == 0, result.stdout[-4000:]
    result = service.pytest("-q", "--sabotage", "tests/proofs/test_unlisted.py")
    assert result.returncode == 0, result.stdout[-4000:]
    shown = blocks("own-protections.md", "console")[0].splitlines()[1:]
    assert set(shown) <= set(result.stdout.splitlines())


def test_a_waiver_is_written_as_the_page_says(tmp_path: Path) -> None:
    """The example of the page is one that counts, on the day that it speaks of."""
    page = (PAGES / "advisory-day.md").read_text(encoding="utf-8")
    found = re.search(r"^      \[\[waivers\]\]\n(?:      .+\n)+", page, re.MULTILINE)
    assert found is not None
    (tmp_path / ".bastion-waivers.toml").write_text(re.sub(r"^ +", "", found[0], flags=re.MULTILINE), encoding="utf-8")
    read, faults = waivers.read(Tree(tmp_path), frozenset({"x_ACME-2027-0001"}), date(2027, 3, 1))
    assert faults == []
    assert list(read) == ["x_ACME-2027-0001"]
