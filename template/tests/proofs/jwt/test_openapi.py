"""Proofs of jwt/openapi.py: the OpenAPI document is served as BASTION_OPENAPI says, and describes every answer.

They stop a stranger from reading every address, field and permission of a service that he has no account for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..harness import edit, harm, protects, works
from ..routes import ANY_ID, stubbed
from ..running import Service
from ..wire import HOST
from .conforming import Compared, is_openapi
from .forging import claims_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..jwt_client import Client
    from ..wire import Response


DESCRIBED = "openapi-says-what-happens"
ANSWER = '        return Response(answer.model_dump_json(), status, mimetype="application/json")\n'


@protects(
    DESCRIBED,
    valid=edit(
        "jwt/openapi.py", '"in": "path", "required": True, "schema": schema}', '"in": "path", "schema": schema}'
    ),
    closed=edit("jwt/openapi.py", '[] if access.public else [{"bearer": sorted(access.permissions)}]', "[]"),
)
def test_a_client_can_be_made_from_the_description_and_knows_where_it_needs_a_token(service: Service) -> None:
    """Otherwise a generated client sends no token, and its user is asked to sign in again and again."""
    service.at_least(requests_per_minute_and_session=120, requests_per_minute_and_address=600)
    service.adds_probe()
    state = service.module("state").state_of(service.app)
    client, stranger = service.client(service.user()).login(), service.client()
    document = client.get("/openapi.json").json
    operations = [*operations_of(document["paths"])]
    works(len(operations) >= 40, "the document lists the service's operations")
    harm(not is_openapi(document), "the document is not valid OpenAPI 3.1")
    open_to_all = [(path, method) for path, method, one in operations if not one["security"]]
    works(("/auth/login", "post") in open_to_all, "the document says that the login needs no token")
    shut = [one for one in operations if reached(service, stranger, one[1], one[0]).status == 401]
    harm([f"{method} {path}" for path, method, one in shut if not one["security"]], "a required token is undocumented")
    assert len(shut) + len(open_to_all) == len(operations)
    for path, method, one in operations:
        if one["security"]:
            access = state.rules[endpoint_of(service, path, method)]
            assert one["security"] == [{"bearer": sorted(access.permissions)}]
    schemes = document["components"]["securitySchemes"]
    assert schemes == {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    assert document["info"] == {"title": state.service_name, "version": "1"}
    assert [*document["paths"]] == sorted(document["paths"], key=lambda path: path.replace("{", "<"))
    names = [one["operationId"] for _, _, one in operations]
    assert len({*names}) == len(names)
    assert {"bastion.login", "bastion_account.me", "probe.index"} <= {*names}


# --- what it says ---------------------------------------------------------------------------------------------


@protects(
    DESCRIBED,
    crash=edit(
        "jwt/api.py",
        "        return schema.model_validate_json(data)\n    except ValidationError as error:\n",
        "        return schema.model_validate_json(data)\n    except KeyError as error:\n",
    ),
    status=edit("jwt/openapi.py", ", *declared.refuses}", "}"),
    shape=edit("jwt/api.py", ANSWER, ANSWER.replace("json()", 'json(exclude={"email", "expires_in"})')),
    type=edit("jwt/api.py", ANSWER, ANSWER.replace("application/json", "text/plain")),
)
def test_no_input_gets_an_answer_that_the_description_does_not_know(service: Service) -> None:
    """A generated client would take an undocumented answer for a success, or fail on it."""
    probe = service.adds_probe()
    roles: tuple[str, ...] = tuple(service.module("state").state_of(service.app).team.roles)

    def caller(path: str) -> tuple[Client, Mapping[str, str]]:
        client = service.client(service.user(roles=roles)).login()
        said = claims_of(client.token)
        known = {"user_id": said["sub"], "session_id": said["sid"], "role": roles[0]}
        if "{item_id}" in path:
            known["item_id"] = probe.create(client).json["id"]
        return client, known

    compared = Compared(service, caller)
    compared.all()
    assert len(compared.operations) >= 12
    honest = {("GET", "/auth/me"), ("GET", "/auth/sessions"), ("GET", "/probe"), ("GET", "/probe/{item_id}")}
    answered = {(method, path) for method, path, status in compared.answered if status == 200}
    works(honest <= answered, "documented GET requests are answered with 200")
    changing = {("POST", "/probe", 201), ("DELETE", "/probe/{item_id}", 204)}
    works(changing <= compared.answered, "documented POST and DELETE requests succeed")
    works(("POST", "/auth/login", 401) in compared.answered, "a wrong password is refused with 401")
    harm(compared.denied, f"the service gave an answer that the document does not describe: {compared.denied[:3]}")
    assert {status for _, _, status in compared.answered} >= {200, 201, 204, 400, 401, 404, 422}


def operations_of(paths: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of each operation."""
    return ((path, method, one) for path, ones in paths.items() for method, one in ones.items())


def endpoint_of(service: Service, path: str, method: str) -> str:
    """The endpoint of an operation."""
    found: str = service.app.url_map.bind(HOST).match(filled(path), method.upper())[0]
    return found


def filled(path: str) -> str:
    """An address of this path."""
    return re.sub(r"\{\w+\}", "x", re.sub(r"\{\w+_id\}", ANY_ID, path))


def reached(service: Service, client: Client, method: str, path: str) -> Response:
    """What the layers before this operation say; what it would do itself is left out."""
    with stubbed(service, endpoint_of(service, path, method)):
        return client.send(method, filled(path))
