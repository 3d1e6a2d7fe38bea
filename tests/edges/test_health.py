"""Edges of the proofs in test_health.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ..harness import edit, harm, protects, works
from ..running import Service
from ..service import AUTH
from ..test_health import extra, probed

if TYPE_CHECKING:
    import pytest


USUAL = (
    *("/docs", "/docs/", "/redoc", "/swagger", "/swagger.json", "/swagger-ui/", "/api-docs", "/openapi.yaml"),
    *(
        "/graphql",
        "/graphiql",
        "/metrics",
        "/status",
        "/server-status",
        "/health",
        "/info",
        "/actuator",
        "/actuator/env",
    ),
    *("/debug", "/debug/pprof", "/console", "/console?__debugger__=yes&cmd=resource&f=debugger.js", "/phpinfo.php"),
    *("/admin", "/admin/", "/admin/console", "/_debug_toolbar/", "/trace", "/config", "/config.json", "/version"),
    *("/.git/config", "/.git/HEAD", "/.env", "/.flaskenv", "/.aws/credentials", "/.DS_Store", "/.well-known/"),
    *("/backup.zip", "/dump.sql", "/instance/", "/pyproject.toml", "/uv.lock", "/requirements.txt", "/exceptions.toml"),
    *("/app.py", "/static", "/static/", "/static/bastion", "/static/bastion/", "/static/../app.py"),
    *("/static/%2e%2e/app.py", "//etc/passwd"),
)
"""Where scanners look first."""
HIDDEN = ("/static/..%2fapp.py", "/..%2f..%2fetc/passwd", "/static/..%5capp.py")
"""Paths with a slash that a framework sees too late; the edge refuses them unseen."""


@protects(
    "health-reveals-nothing",
    unexpected=edit(
        "edge/health.py",
        "exc_info=error)\n        return _NOT_READY",
        "exc_info=error)\n        return Reply(503, _TEXT, str(error).encode())",
    ),
)
def test_failed_readiness_check_reveals_no_cause(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    works(probed(service, "/readyz").text == "ready", "the service answers a probe")

    def fails(*_arguments: object) -> NoReturn:
        raise RuntimeError("canary at db.internal:5432")

    monkeypatch.setattr(service.module("database"), "_fault", fails)
    service.travel(seconds=2)
    answer = probed(service, "/readyz")
    harm(answer.body != b"not ready", f"the probe revealed: {answer.text}")
    assert answer.status == 503
    assert [event["error"] for event in answer.events if event["event"] == "not_ready"] == ["RuntimeError"]


@protects(
    "health-reveals-nothing",
    methods=edit(
        "edge/health.py", "    return _NOT_ALLOWED\n", "    return Reply(200, _TEXT, repr(environ).encode())\n"
    ),
)
def test_a_probe_gets_the_same_words_whatever_it_sends(service: Service) -> None:
    honest = {path: probed(service, path) for path in ("/healthz", "/readyz")}
    works({path: answer.text for path, answer in honest.items()} == {"/healthz": "ok", "/readyz": "ready"}, "answered")
    for path, expected in honest.items():
        assert expected.mimetype == "text/plain"
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"):
            answer = probed(service, path, method=method) if method != "get" else service.client().get(f"{path}?x=1")
            harm("wsgi" in answer.text, f"{method} {path} shows the request's environment")
            known = (200, expected.body, None) if method == "get" else (405, b"not allowed", "GET, HEAD")
            assert (answer.status, answer.body, answer.header("Allow")) == known
            assert extra(answer) == set()
        for host in ("evil.example", "", "app.example:1", "10.0.0.7:8000", "<script>"):
            answer = probed(service, path, host=host)
            assert (answer.status, answer.body) == (200, expected.body)
        head = probed(service, path, method="HEAD")
        assert (head.status, head.body, head.header("Content-Length")) == (200, b"", str(len(expected.body)))
        assert service.client().get(f"{path}/").status == 404


@protects("health-reveals-nothing")
def test_no_scanner_finds_a_tool_or_a_file(service: Service) -> None:
    anonymous, signed_in = service.client(), service.client(service.user()).login()
    works(anonymous.get("/healthz").status == 200, "the service answers")
    own = {rule.rule for rule in service.app.url_map.iter_rules()}  # a page /status of the team's was reviewed
    usual = [path for path in (*USUAL, *(() if AUTH == "jwt" else ("/openapi.json",))) if path not in own]
    assert len(usual) >= 40
    for path in usual:
        for client in (anonymous, signed_in):
            answer = client.get(path)
            harm(answer.ok, f"{path} is available")
            assert answer.status == 404
    assert [anonymous.get(path).status for path in HIDDEN] == [400] * len(HIDDEN)
