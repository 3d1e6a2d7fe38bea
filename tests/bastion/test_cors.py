"""Unit tests beside the proofs in test_cors.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..running import Service


def test_the_list_is_followed_to_the_letter_and_a_question_is_what_a_browser_asks(service: Service) -> None:
    """Whichever style names origins: this one alone asks so, and is told what it may send."""
    client, asked = "https://client.example", "HTTP_ACCESS_CONTROL_REQUEST_METHOD"
    cors = service.module("edge.cors").Cors([client])
    question = {"REQUEST_METHOD": "OPTIONS", "HTTP_ORIGIN": client, asked: "POST"}
    assert cors.refuse(question).status == 204
    assert not cors.refuse(question).logged
    [allowed, *told] = cors.headers(question)
    assert allowed == ("Access-Control-Allow-Origin", client)
    names = {"Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age"}
    assert {name for name, _ in told} == names
    for other in (
        {**question, "REQUEST_METHOD": "GET"},
        {name: value for name, value in question.items() if name != asked},
    ):
        assert (cors.refuse(other), cors.headers(other)) == (None, (allowed,))
    for origin in ({"HTTP_ORIGIN": "https://evil.example"}, {"HTTP_ORIGIN": f"{client}.evil.example"}, {}):
        stranger = {"REQUEST_METHOD": "OPTIONS", asked: "POST", **origin}
        assert (cors.refuse(stranger), cors.headers(stranger)) == (None, ())
