"""A client gets little time, few headers and short lines, and only the edge decides whose forwarding headers count.

Slow or endless requests hold threads, and two readings of one ambiguous request let an attacker prepend to another's.

Settings of the server: `gunicorn -c python:<package>.bastion.server.gunicorn '<package>.app:create_app()'`. What
differs between deployments are the environment variables below. Every tolerant option of gunicorn (permit_*,
strip_header_spaces, casefold_http_method) is off by default and stays off. GUNICORN_CMD_ARGS would override all of
this, so a service with it does not start; an option on the command line of gunicorn itself counts, too: use `serve`.
Source: ASVS 4.2.1, 4.2.2, 13.2.6, 15.2.2; RFC 9112, 11.2.
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
# A leak can't grow for ever. While a worker is replaced, 2.5 s, the others answer; the only one lives until a restart.
max_requests = 10_000 if workers > 1 else 0
max_requests_jitter = 10_000  # seldom two at once

limit_request_line = 4094  # bytes
limit_request_fields = 100
limit_request_field_size = 8190  # bytes

# X_Forwarded_For and X-Forwarded-For are one name inside WSGI: the client's would replace the proxy's.
header_map = "drop"
# The scheme is read in the edge alone, which knows the proxies; gunicorn would believe every peer on this machine.
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
    """Each worker sends mails. Not before: a thread that is started ahead of the fork does not exist behind it."""
    outbox.start(worker.wsgi)
