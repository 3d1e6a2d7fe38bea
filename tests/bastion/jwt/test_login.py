"""Unit tests beside the proofs in test_login.py."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from ...wire import HOST, ORIGIN

if TYPE_CHECKING:
    from ...running import Service


def test_the_hint_on_a_developers_terminal_calls_what_takes_the_token(service: Service) -> None:
    links, mailed_link = service.module("identity.links"), service.module("jwt.mailed_link")
    rules, declared = service.module("state").state_of(service.app).rules, service.module("jwt.api").declaration_of
    purposes = (links.ACTIVATE, links.INVITE, links.CREATE, links.RESET, links.EMAIL)
    for purpose in purposes:
        with service.app.app_context():
            command, *options = shlex.split(mailed_link.by_hand(purpose, "the-token"))
        address = next(option for option in options if option.startswith(ORIGIN))
        endpoint = service.app.url_map.bind(HOST).match(address.removeprefix(ORIGIN), "POST")[0]
        fields = declared(service.app.view_functions[endpoint]).body.model_fields
        sent = json.loads(options[options.index("-d") + 1])
        assert command == "curl"
        assert sent.keys() == {name for name, field in fields.items() if field.is_required()}
        assert sent["token"] == "the-token"
        assert ("Authorization: Bearer $ACCESS_TOKEN" in options) is not rules[endpoint].public
    assert mailed_link.PATHS.keys() == {*purposes}
