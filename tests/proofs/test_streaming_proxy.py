"""No visitor receives the answer to a request that an attacker hid in a body, behind a proxy that streams bodies.

nginx forwards a body as it comes and sends the requests of all visitors on one connection. In its view a request is
over when the whole body was sent; a service that stopped reading before takes the rest for the next request.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from journeys.running import environment, free_port
from services import Service
from support import Combination, Repository, done, replace_once, run

HOST = "app.example"
SECONDS = 60.0
READERS = 4  # half of the threads: so many long bodies are read at a time
ATTEMPTS = 3  # the attack depends on times
CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream service {{
    server 127.0.0.1:{upstream};
    keepalive 1;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto https;
    }}
  }}
}}
"""
VISIT = f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
SMUGGLED = b"GET /nowhere HTTP/1.1\r\nX-Ignored: "  # the visitor's request line becomes the value of this header


@pytest.fixture
def nginx() -> str:
    """Debian's nginx. Without it: a loud skip on a laptop, a failure in CI."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        missing = "no nginx on this machine: install Debian's package `nginx-light`"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return program


@contextmanager
def started(*command: str | Path, cwd: Path, env: dict[str, str], log: Path) -> Iterator[None]:
    """Run a program in the background until the end of the block."""
    with log.open("ab") as out, subprocess.Popen(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
    ) as process:  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=SECONDS)


@contextmanager
def behind_nginx(service: Service, nginx: str, folder: Path) -> Iterator[int]:
    """Start the service's `serve` and nginx in front of it, and return nginx's port once a visitor is answered."""
    port, upstream, log = free_port(), free_port(), folder / "log"
    settings = {
        "DATABASE_URL": f"sqlite:///{folder / 'app.db'}",
        "BASTION_TRUSTED_HOSTS": HOST,
        "BASTION_PUBLIC_ORIGIN": f"https://{HOST}",
        "BASTION_PROXY_HOPS": "1",
        "BASTION_TRUSTED_PROXIES": "127.0.0.1/32",
        "BASTION_BIND": f"127.0.0.1:{upstream}",
        "BASTION_SMTP_URL": "smtps://mail.example",
        "BASTION_MAIL_FROM": f"accounts@{HOST}",
        **{name: secrets.token_urlsafe(32) for name in ("SECRET_KEY", "DATA_KEY")},
    }
    program, env = service.path / ".venv/bin/my-service", {**environment(), **settings}
    done(run(program, "db", "upgrade", cwd=service.path, env=env))
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, port=port, upstream=upstream), encoding="utf-8")
    proxy = nginx, "-p", folder, "-e", "stderr", "-c", configuration
    with (
        started(program, "serve", cwd=service.path, env=env, log=log),
        started(*proxy, cwd=folder, env=environment(), log=log),
    ):
        until = time.monotonic() + SECONDS
        while not is_answered(port):
            assert time.monotonic() < until, log.read_text(encoding="utf-8")[-3000:]
            time.sleep(0.2)
        yield port


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


def is_answered(port: int) -> bool:
    try:
        return status_for_a_visitor(port) == 200
    except OSError:
        return False


def status_for_a_visitor(port: int) -> int:
    with connect(port) as visitor:
        visitor.sendall(VISIT)
        return int(visitor.recv(65_536).split(b" ")[1])


def login(length: int) -> bytes:
    """Return the head of a form that a browser may send, with this Content-Length."""
    lines = (
        "POST /login HTTP/1.1",
        f"Host: {HOST}",
        f"Origin: https://{HOST}",
        "Sec-Fetch-Site: same-origin",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {length}",
    )
    return "\r\n".join((*lines, "", "")).encode()


def smuggle(port: int) -> int:
    """Have a whole body read after its deadline; return the status of its refusal.

    nginx closes its connection to a service that refuses half a body. So the attacker sends all of it, and other bodies
    keep the threads that may read it until its deadline has passed.
    """
    with ExitStack() as stack:
        attacker = stack.enter_context(connect(port))
        attacker.sendall(login(66_000 + len(SMUGGLED)) + b"x" * 60_000)
        time.sleep(0.05)  # so that its deadline is the first
        for _ in range(READERS):
            stack.enter_context(connect(port)).sendall(login(200_000) + b"x" * 70_000)
        time.sleep(1.4)  # each second after the next piece the server closes connections that wait for a thread
        attacker.sendall(b"x" * 6_000)  # 64 KiB have come: it waits for a thread
        time.sleep(1.0)
        attacker.sendall(SMUGGLED)
        return int(attacker.recv(65_536).split(b" ")[1])


def status_behind_a_smuggled_request(port: int) -> int:
    """Return the status that the next visitor receives. Raises AssertionError if the attack never came to its end."""
    refusals = []
    for _ in range(ATTEMPTS):
        refusals.append(smuggle(port))
        status = status_for_a_visitor(port)
        if refusals[-1] == 400:
            return status
    raise AssertionError(f"the attacker's bodies were answered with {refusals}: 400 means that one was read too late")


def test_a_visitor_receives_no_smuggled_answer(
    template_repository: Repository, nginx: str, open_folder: Path, tmp_path: Path
) -> None:
    combination = Combination.parse("session-sqlite-env")
    service = Service.start(template_repository.path, open_folder / "behind-nginx", **combination.data)
    service.install(combination)
    with behind_nginx(service, nginx, tmp_path) as port:
        assert status_behind_a_smuggled_request(port) == 200
    worker = service.path / "src/my_service/bastion/server/worker.py"
    replace_once(worker, "            self.is_cut = True\n", "            pass\n")
    with behind_nginx(service, nginx, tmp_path) as port:
        assert status_behind_a_smuggled_request(port) == 404, "the attack fails without the protection"
