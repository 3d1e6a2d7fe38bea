"""Server limits: time, header and line limits for clients; only the edge decides about forwarding headers.

Slow or endless requests would occupy threads. Request smuggling (two readings of one ambiguous request) lets an
attacker prepend to another client's request.

Settings: `gunicorn -c python:<package>.bastion.server.gunicorn '<package>.app:create_app()'`. Deployments differ in the
environment variables below. Gunicorn's tolerant options (permit_*, strip_header_spaces, casefold_http_method) are off
by default and stay off. GUNICORN_CMD_ARGS would override all this, so a service with it does not start. An option on
gunicorn's own command line counts, too: use `serve`. Source: ASVS 4.2.1, 4.2.2, 13.2.6, 15.2.2; RFC 9112, 11.2.
"""

from __future__ import annotations

import os
from typing import Any

from ..delivery import outbox

bind = os.environ.get("BASTION_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
worker_class = f"{__package__}.worker.Worker"  # threads, and ten seconds to send a request
threads = int(os.environ.get("BASTION_THREADS", "8"))

timeout = 30  # seconds until a worker that hangs is replaced; no limit on a client
graceful_timeout = 20  # seconds for running requests at a stop; below the 30 that Kubernetes gives
keepalive = 5  # seconds an idle connection stays open
sendfile = False  # the kernel would wait for a client for longer than server/worker.py lets it
# Limits memory leaks. A worker's replacement takes 2.5 s, and the others answer; a single worker runs until a restart.
max_requests = 10_000 if workers > 1 else 0
max_requests_jitter = 10_000  # seldom two at once

limit_request_line = 4094  # bytes
limit_request_fields = 100
limit_request_field_size = 8190  # bytes

# X_Forwarded_For and X-Forwarded-For are one name inside WSGI: the client's would replace the proxy's.
header_map = "drop"
# Only the edge reads the scheme, since it knows the proxies; gunicorn would trust every peer on this machine.
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
forwarded_allow_ips = os.environ.get("BASTION_TRUSTED_PROXIES", "")

control_socket_disable = True  # it would lie in the home folder and take commands
_MEMORY = "/dev/shm"  # noqa: S108  (gunicorn makes an unnamed file in it)
if os.path.isdir(_MEMORY):
    worker_tmp_dir = _MEMORY  # for the heartbeat; on a slow disk a busy worker looks dead

accesslog = None  # the service logs its own events, without query strings
logger_class = f"{__package__}.worker.ServerLog"  # as JSON into the service's log, on standard output


def post_worker_init(worker: Any) -> None:
    """Start the mail thread in each worker. Not earlier: a thread started before the fork does not exist after it."""
    outbox.start(worker.wsgi)
