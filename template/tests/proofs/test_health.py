"""Proofs of edge/health.py: a health probe gets a fixed word and reveals nothing about the service.

They stop a health answer, a forgotten tool or a file beside the code from being a free map for an attacker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .harness import edit, harm, protects, works
from .running import Service
from .wire import Response

if TYPE_CHECKING:
    pass


@protects(
    "health-reveals-nothing",
    reason=(
        edit("database/__init__.py", "        return last[1]\n", "        return engine.connect().close() is None\n"),
        edit(
            "edge/health.py",
            "exc_info=error)\n        return _NOT_READY",
            "exc_info=error)\n        return Reply(503, _TEXT, str(error).encode())",
        ),
    ),
)
def test_a_probe_is_not_told_why_the_service_is_not_ready(service: Service) -> None:
    works((probed(service, "/healthz").text, probed(service, "/readyz").text) == ("ok", "ready"), "a probe is answered")
    service.take_database_away()
    service.travel(seconds=2)  # a probe answers from memory for a second
    answer = probed(service, "/readyz")
    harm(answer.body != b"not ready", f"the probe revealed: {answer.text}")
    assert answer.status == 503
    assert [event["database"] for event in answer.events if event["event"] == "not_ready"] == ["OperationalError"]
    assert extra(answer) == set()
    alive = probed(service, "/healthz")  # does not ask the database: a restart would not bring that back
    assert (alive.status, alive.body, alive.events) == (200, b"ok", [])
    assert probed(service, "/readyz", method="HEAD").body == b""


def probed(service: Service, path: str, *, method: str = "GET", host: str = "10.0.0.7:8000") -> Response:
    """What a load balancer gets: over http, by the address of the machine, without anything of a browser."""
    headers = {"Host": host, "Origin": None, "Referer": None, "Content-Type": None, "User-Agent": "kube-probe/1.34"}
    return service.client().send(method, path, body=b"", headers=headers, scheme="http")


def extra(answer: Response) -> set[str]:
    """Headers that tell something about the service, or begin a session."""
    telling = {
        "set-cookie",
        "server",
        "x-powered-by",
        "via",
        "date",
        "last-modified",
        "etag",
        "location",
        "retry-after",
    }
    return {name.lower() for name, _ in answer.headers} & telling
