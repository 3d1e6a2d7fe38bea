"""Edges of the proofs in test_secrets_leak.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..harness import harm, protects, works
from ..running import collecting
from ..test_secrets_leak import known

if TYPE_CHECKING:
    from ..running import Service


@protects("secrets-never-shown")
def test_no_collector_of_errors_gets_a_key_that_a_view_holds(service: Service) -> None:
    def uses() -> str:
        partner = service.module("secrets").get("SECRET_KEY")
        raise ValueError(f"no connection with {partner}")

    service.adds_route("/uses", mark="public", view=uses)
    visitor = service.client()
    with collecting() as collector:
        answer = visitor.get("/uses")
        works("no connection with" in collector.text, "a collector gets the error of a view")
        works("in dispatch_request" in collector.text, "with its stack")
    harm(known(service, collector.text), "the local variables of a stack hold a secret")
    assert answer.status == 500
    assert known(service, service.output + answer.text) == []
