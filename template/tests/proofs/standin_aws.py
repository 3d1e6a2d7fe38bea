"""A stand-in for AWS Secrets Manager, run as a program: moto, on a loopback port and in memory.

It gives credentials of a role, as ECS does, to whoever knows their address, and answers nobody else: other people of
this machine and pages in a browser can reach the port, too.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from threading import Lock, Thread
from typing import Any


def main() -> None:
    """Tell port and key, and answer until nobody holds standard input open."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    key = secrets.token_hex(16)
    role = {"AccessKeyId": key, "SecretAccessKey": key, "Token": key, "Expiration": "2999-01-01T00:00:00Z"}
    manager = import_module("moto.server").create_backend_app("secretsmanager")
    one_at_a_time = Lock()  # moto searches its secrets without one: a secret added meanwhile makes it answer 500

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == f"/{key}":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(role).encode()]
        if f"Credential={key}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            start_response("403 Forbidden", [])
            return []
        with one_at_a_time:
            answered: Iterable[bytes] = manager(environ, start_response)
        return answered

    logging.getLogger("werkzeug").disabled = True
    server = import_module("werkzeug.serving").make_server("127.0.0.1", 0, answer, threaded=True)
    Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, key, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
