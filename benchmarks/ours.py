"""Our side: a service rendered from this tree as it stands, with one route added the way a team adds one.

Nothing of it is switched off or loosened. It stays below the ceilings by having many people, each with an address and a
session.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from peers import HOST
from postgres import Postgres
from rendering import copy

HERE = Path(__file__).parent
FEATURES = {"session": "page.py", "jwt": "call.py"}
CLOSING = "    app.register_blueprint(benchmark.blueprint)\n"


def database_environment(name: str, folder: Path, server: Postgres | None, *, ours: bool) -> dict[str, str]:
    """DATABASE_URL, and what belongs to it, for one peer: a file of its own, or a database of its own on the server."""
    environment = {"SECRET_KEY": secrets.token_urlsafe(48)}
    if server is None:
        return {**environment, "DATABASE_URL": f"sqlite:///{folder}/data.sqlite"}
    address = server.new_database(name)
    if ours:
        url = f"postgresql://postgres@{address}"
        return {**environment, "DATABASE_URL": url, "DATABASE_PASSWORD": server.password}
    return {**environment, "DATABASE_URL": f"postgresql+psycopg://postgres:{server.password}@{address}"}


class Service:
    """A rendered service in `folder`, its dependencies installed beside the peers'."""

    def __init__(self, template: Path, folder: Path, auth: str, database: str) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        copy(template, folder, auth=auth, database=database, secrets="env")
        self.auth, self.folder = auth, folder
        [entry] = folder.glob("src/*/bastion/__init__.py")
        self.package = entry.parent.parent
        self._install()
        self._add_route()

    def _install(self) -> None:
        # The extra's list itself, not `<service>[bastion]`: that name must never be looked up anywhere.
        project = tomllib.loads((self.folder / "pyproject.toml").read_text("utf-8"))["project"]
        wanted = self.folder / "wanted.txt"
        own = [f"{project['name']}[", f"{project['name']} "]
        listed = [*project["optional-dependencies"]["bastion"], *project["dependencies"]]
        lines = [line for line in listed if not any(f"{line} ".startswith(start) for start in own)]
        wanted.write_text("\n".join(lines) + "\n", "utf-8")
        uv = shutil.which("uv") or "uv"
        subprocess.run([uv, "pip", "install", "--quiet", "--python", sys.executable, "-r", str(wanted)], check=True)

    def _add_route(self) -> None:
        shutil.copy(HERE / "feature" / FEATURES[self.auth], self.package / "benchmark.py")
        if self.auth == "session":
            (self.package / "templates").mkdir(exist_ok=True)
            shutil.copy(HERE / "peers" / "templates" / "page.html", self.package / "templates" / "page.html")
        app = self.package / "app.py"
        text = app.read_text("utf-8").rstrip("\n") + "\n"
        head, found, rest = text.partition("from . import ")
        if not found or not text.rpartition("\n    ")[2].startswith("app."):
            raise RuntimeError("app.py no longer ends with create_app(): tell the benchmark how to add its route")
        app.write_text(f"{head}{found}benchmark, {rest}{CLOSING}", "utf-8")

    def environment(self, *, behind_proxy: bool) -> dict[str, str]:
        """A complete production environment, without the database's part."""
        environment = {
            "PYTHONPATH": str(self.package.parent),
            "BENCHMARK_SERVICE": self.package.name,
            "DATA_KEY": secrets.token_urlsafe(32),
            "BASTION_TRUSTED_HOSTS": HOST,
            "BASTION_PUBLIC_ORIGIN": f"https://{HOST}",
            "BASTION_PROXY_HOPS": "0",
            "BASTION_SMTP_URL": "smtp://127.0.0.1",  # nothing is mailed
            "BASTION_MAIL_FROM": f"accounts@{HOST}",
        }
        if behind_proxy:
            environment |= {"BASTION_PROXY_HOPS": "1", "BASTION_TRUSTED_PROXIES": "127.0.0.1/32"}
        if self.auth == "jwt":
            environment["JWT_KEYS"] = self._new_key_ring()
            environment["BASTION_LINK_BASE"] = f"https://{HOST}/account"
        return environment

    def _new_key_ring(self) -> str:
        make = f"from {self.package.name}.bastion.jwt.keys import new_ring; print(new_ring())"
        environment = {"PYTHONPATH": str(self.package.parent)}
        done = subprocess.run([sys.executable, "-c", make], check=True, capture_output=True, text=True, env=environment)
        return done.stdout.strip()
