"""Edges of the proofs in test_schema.py: further attacks on the same protections."""

# No `from __future__ import annotations` here: the operations read the annotations of functions inside a function.
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from ... import header_table
from ...harness import edit, harm, protects, refused, works
from ...jwt.test_schema import ODD, TEXT, Described, Shape, pointers
from ..test_exceptions import declare, limit

if TYPE_CHECKING:
    from pathlib import Path

    from ...jwt_client import Client
    from ...running import Service
    from ...wire import Response


ROW = "input-validated-typed"
NUMBERS = ("0", "-1", "2147483648", "9223372036854775808", "9" * 400, "1.0", "1e3", "+1", " 1", "1 ", "1_0", "0x1")
LINES = ("a\nb", "a\r\nb", "a\tb")  # more than the one line that a plain text is
NO_NUMBERS = ("", "one", "\u0661", "\uff11", "NaN", "[1]", "null", "true")
LENGTHS: Shape = {
    **dict.fromkeys(("email", "identifier"), (1, 254)),
    **dict.fromkeys(("password", "current_password"), (1, 1024)),  # as typed; normalised it has 256 at the most
    **dict.fromkeys(("new password", "new_password"), (15, 1024)),
    **dict.fromkeys(("token", "mfa_token", "name"), (1, 100)),
    **dict.fromkeys(("device_token",), (0, 4096)),
    **{"refresh_token": (1, 4096), "code": (1, 64), "step-up code": (0, 64), "display_name": (0, 100)},
    **{"state": (1, 1000), "roles": (0, 20), "roles[]": (0, 50)},
    **{f"credential.{name}": (1, 8192) for name in ("id", "rawId")},
    **{
        f"credential.response.{name}": (1, 8192)
        for name in ("attestationObject", "authenticatorData", "clientDataJSON")
    },
    **{"credential.response.signature": (1, 8192), "credential.response.userHandle": (0, 8192)},
    **{"credential.type": (1, 50), "credential.response.transports": (0, 10)},
    "credential.response.transports[]": (0, 50),
}
"""The shortest and the longest of each text, and the fewest and most of each list, that an operation of ours takes."""
CALLED = {
    ("POST", "/auth/activate", "password"): "new password",
    ("POST", "/auth/reset/complete", "password"): "new password",
    ("POST", "/auth/reauthenticate", "code"): "step-up code",
}
"""Where a name means something else than elsewhere."""


@protects(
    "input-validated-typed",
    length=edit(
        "jwt/endpoints.py",
        "identifier: Annotated[str, Field(min_length=1, max_length=LONGEST_IDENTIFIER)]",
        "identifier: Annotated[str, Field(min_length=1)]",
    ),
)
def test_no_credential_is_looked_at_that_is_longer_than_any_can_be(service: "Service") -> None:
    longest = service.module("jwt.endpoints").LONGEST_IDENTIFIER
    client = service.client(service.user())
    path, fields = "/auth/login", {"identifier": "x" * longest, "password": "wrong" * 4}
    works(client.post(path, fields).status == 401, "the longest address is looked up")
    counted = service.rows("SELECT count(*) FROM throttle_counter")[0][0]
    works(counted == 1, "the attempt is counted")

    cases: list[tuple[str, Any]] = [("identifier", "y" * (longest + 1)), ("identifier", "y" * 100_000)]
    cases += [("password", "y" * 100_000), ("password", ""), ("identifier", ""), ("identifier", None), ("password", 1)]
    answers = [(name, client.post(path, {**fields, name: value})) for name, value in cases]
    harm(service.rows("SELECT count(*) FROM throttle_counter")[0][0] > counted, "an overlong address was looked up")
    for name, answer in answers:
        refused(answer, 422, ROW)
        assert pointers(answer) == {f"#/{name}"}
        assert "yyy" not in answer.text


def adds_operation(service: "Service") -> list[Any]:
    """An operation as a team writes it, with a number, a switch and a text; records its input."""
    arrived: list[Any] = []

    def add(app: Any) -> None:
        from pydantic import Field

        schema, api, bastion = service.module("jwt.schema"), service.module("jwt.api"), service.module()

        class Body(schema.Schema):  # type: ignore[misc, name-defined]
            number: Annotated[int, Field(ge=1, le=2**31 - 1)]
            switch: bool = False
            text: str = ""

        class Listed(schema.ListQuery):  # type: ignore[misc, name-defined]
            """The query of a list, without a filter."""

        def take(body: Body) -> None:
            arrived.append((body.number, body.switch, body.text))

        def show(query: Listed) -> None:
            arrived.append((query.page, query.q))

        mark: Callable[..., Any] = bastion.login_required
        app.add_url_rule("/typed", "probe_take", mark(api.operation(take)), methods=["POST"])
        app.add_url_rule("/typed", "probe_show", mark(api.operation(show)), methods=["GET"])

    service.adds(add)
    return arrived


@protects(
    "input-validated-typed",
    bounds=(
        edit("jwt/factors.py", "LONGEST_PART: Final = 8_192", "LONGEST_PART: Final = 819_200"),
        edit("jwt/account.py", "Field(min_length=1, max_length=100)", "Field(min_length=1, max_length=100_000)"),
        edit("jwt/administration.py", "MOST_ROLES: Final = 20", "MOST_ROLES: Final = 20_000"),
        edit("jwt/endpoints.py", "SecretStr, Field(max_length=LONGEST_TOKEN)", "SecretStr, Field(max_length=10**6)"),
    ),
)
def test_no_field_of_ours_takes_more_than_what_it_is_for(service: "Service") -> None:
    """Another proof shows that fields accept exactly their documented bounds; this one compares these with the need."""
    described = Described(service)
    found: dict[str, set[tuple[int, int]]] = {}
    for path, method, operation in described.operations():
        for name, shape in described.leaves(described.body(operation) or {}) if path.startswith("/auth/") else ():
            found.setdefault(CALLED.get((method, path, name), name), set()).add(described.bounds(shape))
    works(found["identifier"] == {LENGTHS["identifier"]}, "a login accepts the longest possible address")
    longer = {name: bounds for name, bounds in found.items() if max(most for _, most in bounds) > LENGTHS[name][1]}
    harm(longer, f"a field accepts longer values than it needs: {longer}")
    assert found == {name: {bounds} for name, bounds in LENGTHS.items()}
    browsers = described.schema("KnownCredential"), described.schema("Asserted"), described.schema("Attested")
    assert [one["additionalProperties"] for one in browsers] == [True] * 3  # they add members, which are dropped


@protects(
    "input-validated-typed",
    strict=edit(
        "jwt/schema.py", "    model_config = ConfigDict(strict=True)\n", "    model_config = ConfigDict(strict=False)\n"
    ),
    lines=edit("jwt/schema.py", "lines = field is not None and any(", "lines = field is not None or any("),
)
def test_no_value_is_taken_for_one_of_another_type(service: "Service") -> None:
    arrived = adds_operation(service)
    client = service.client(service.user()).login()
    for number in (1, 17, 2**31 - 1):
        works(client.post("/typed", {"number": number, "switch": True, "text": "Zoë"}).status == 204, f"{number} fits")
    works(arrived == [(1, True, "Zoë"), (17, True, "Zoë"), (2**31 - 1, True, "Zoë")], "the view gets them unchanged")
    works(client.post("/typed", {"number": 1, "text": "x" * TEXT}).status == 204, "a text of usual length is accepted")
    arrived.clear()

    cases: list[tuple[str, Any]] = [("number", value) for value in ("1", True, 1.5, "1.0", [1], None, 0, -1, 2**31)]
    cases += [("switch", value) for value in ("true", 1, 0, "on", None)]
    cases += [("text", value) for value in (1, True, ["a"], {"a": 1}, None, "x" * (TEXT + 1), *LINES)]
    answers = [(name, client.post("/typed", {"number": 1, name: value})) for name, value in cases]
    harm(arrived, "a value of one type was accepted as another type")
    for name, answer in answers:
        refused(answer, 422, ROW)
        assert pointers(answer) == {f"#/{name}"}


@protects(
    "input-validated-typed",
    range=edit("jwt/schema.py", "Field(ge=1, le=LARGEST_NUMBER)", "Field(ge=1)"),
    size=edit("jwt/schema.py", "Field(ge=1, le=LARGEST_PAGE_SIZE)", "Field(ge=1)"),
)
def test_no_list_gets_a_page_or_search_that_it_does_not_have(service: "Service") -> None:
    arrived = adds_operation(service)
    client = service.client(service.user()).login()
    queries: list[dict[str, Any]] = [{}, {"page": "1"}, {"page": "2147483647"}, {"q": "Zoë"}, {"q": "x" * 100}]
    for query in (*queries, {"size": "100"}):
        works(client.get("/typed", query=query).status == 204, f"{query} is accepted")
    works(len(arrived) == 6, "the view ran for each")
    arrived.clear()

    wrong: list[dict[str, Any]] = [{name: text} for name in ("page", "size") for text in (*NUMBERS, *NO_NUMBERS)]
    wrong.append({"size": "101"})
    control = {*"\x1b\x7f\x85"}  # inputs.py has refused these in every query
    wrong += [{"q": text} for text in (*ODD, "x" * 101) if not control & {*text}]
    answers = [(next(iter(query)), client.get("/typed", query=query)) for query in wrong]
    twice = [client.get("/typed", query=query) for query in ({"page": ["1", "2"]}, {"q": ["a", "b"]})]
    undeclared = [client.get("/typed", query={"pages": "1"})]
    undeclared.append(client.post("/typed?role=admin", {"number": 1}))
    harm(arrived, "a list accepted an invalid or undeclared query")
    for name, answer in answers:
        refused(answer, 422, ROW)
        assert pointers(answer) == {name}
    for answer in undeclared:
        refused(answer, 400, ROW)
    for answer in twice:
        refused(answer, 400, "duplicate-parameters-refused")


@protects("input-validated-typed")
def test_no_input_comes_back_in_an_error(service: "Service") -> None:
    arrived = adds_operation(service)
    client = service.client(service.user()).login()
    works(client.post("/typed", {"number": 1}).status == 204, "a valid body is accepted")
    arrived.clear()
    canary = "<script>canary</script>"

    answers = [
        client.post("/typed", {"number": canary}),
        client.post("/typed", {"number": 1, canary: 1}),
        client.post("/typed", {"number": 1, "text": canary * 100}),
        client.get("/typed", query={"page": canary}),
        client.get("/typed", query={canary: "1"}),
    ]
    harm([answer.text for answer in answers if "canary" in answer.text], "an error repeated the client's input")
    assert [answer.status for answer in answers] == [422, 422, 422, 422, 400]
    assert len(client.post("/typed", {f"field{number}": 1 for number in range(1500)}).json["errors"]) == 20
    assert arrived == []


@protects(
    "json-strict",
    operations=edit("jwt/api.py", "        strict_json.loads(data, most_values=", "        dict(most_values="),
)
def test_no_operation_reads_json_that_has_two_meanings(service: "Service") -> None:
    arrived = adds_operation(service)
    client = service.client(service.user()).login()
    works(client.post("/typed", body=b'{"number": 1}').status == 204, "unambiguous JSON is accepted")
    arrived.clear()

    documents = (
        b'{"number": 1, "number": 2}',
        b'{"number": 1, "text": "\\u0000"}',
        b'{"number": 1} {}',
        b"[" * 100_000,
    )
    answers = [client.post("/typed", body=document) for document in documents]
    harm(arrived, "ambiguous JSON was accepted")
    for answer in answers:
        refused(answer, 400, "json-strict")


@protects(
    "json-strict",
    values=edit("text/strict_json.py", "        if number > most_values:\n", "        if False:\n"),
    declared=edit("jwt/api.py", ", most_values=state().limits.json_values_per_body)", ")"),
)
def test_a_body_with_too_many_fields_is_refused_unchecked(
    service: "Service", monkeypatch: pytest.MonkeyPatch, tmp_path: "Path"
) -> None:
    """Each refused field costs as much processor time as reading a hundred fields."""
    declare(service, monkeypatch, tmp_path / "exceptions.toml", limit("json_values_per_body", 100))
    adds_operation(service)
    client, most = service.client(service.user()).login(), service.limits.json_values_per_body
    schema = service.module("jwt.schema").Schema
    checked, real = list[int](), schema.model_validate_json.__func__

    def counted(of: Any, /, data: bytes, **more: Any) -> Any:
        checked.append(len(data))
        return real(of, data, **more)

    monkeypatch.setattr(schema, "model_validate_json", classmethod(counted))
    works(client.post("/typed", {"number": 1}).status == 204, "a valid body is accepted")
    answer = client.post("/typed", {f"field{number}": 1 for number in range(most)})
    works(answer.status == 422, "a body with many invalid fields is validated")
    works(len(checked) == 2, "both bodies were validated")
    checked.clear()

    answer = client.post("/typed", {f"field{number}": 1 for number in range(most + 1)})
    harm(checked, "a body with too many fields was validated field by field")
    refused(answer, 400, "json-strict")


# --- the content of the document ------------------------------------------------------------------------------


def adds_containers(service: "Service") -> list[Any]:
    """An operation that takes a text inside each kind of container; records its input."""
    arrived: list[Any] = []

    def add(app: Any) -> None:
        schema, api, bastion = service.module("jwt.schema"), service.module("jwt.api"), service.module()

        class Inner(schema.Schema):  # type: ignore[misc, name-defined]
            text: str

        class Body(schema.Schema):  # type: ignore[misc, name-defined]
            listed: list[str] = []  # noqa: RUF012
            paired: tuple[str, ...] = ()
            chosen: set[str] = set()  # noqa: RUF012
            fixed: frozenset[str] = frozenset()
            named: dict[str, str] = {}  # noqa: RUF012
            inner: list[Inner] = []  # noqa: RUF012

        def take(body: Body) -> None:
            arrived.append(body)

        app.add_url_rule("/held", "held", bastion.login_required(api.operation(take)), methods=["POST"])

    service.adds(add)
    return arrived


@protects(
    "input-validated-typed",
    inside=edit(
        "jwt/schema.py", "    elif isinstance(value, (list, tuple, set, frozenset)):", "    elif value is None:"
    ),
)
def test_no_text_is_too_deep_inside_to_be_looked_at(service: "Service") -> None:
    arrived = adds_containers(service)
    client = service.client(service.user()).login()
    fields = ("listed", "paired", "chosen", "fixed")
    good = {**{name: ["Zoë", "a"] for name in fields}, "named": {"Zoë": "a"}, "inner": [{"text": "a"}]}
    works(client.post("/held", good).status == 204, "ordinary texts in any container are accepted")
    arrived.clear()

    cases: list[tuple[str, dict[str, Any]]] = [(name, {name: ["a", text]}) for name in fields for text in ODD]
    cases += [("named", {"named": held}) for text in ODD for held in ({text: "a"}, {"a": text})]
    answers = [(name, client.post("/held", body)) for name, body in cases]
    harm(arrived, "an unsafe text was accepted inside a container")
    for name, answer in answers:
        refused(answer, 422, ROW)
        assert pointers(answer) == {f"#/{name}"}
    undeclared = client.post("/held", {"inner": [{"text": "a"}, {"text": "a", "a/b~c": 1}], "x": 1})
    refused(undeclared, 422, ROW)
    assert sorted(pointers(undeclared)) == ["#", "#/inner/1"]
    assert pointers(client.post("/held", {"named": {"a/b~c": 1}})) == {"#/named/a~1b~0c"}


@protects(
    "secrets-never-shown",
    input=edit("jwt/schema.py", "frozen=True, hide_input_in_errors=True", "frozen=True, hide_input_in_errors=False"),
)
def test_an_error_that_is_logged_holds_nothing_of_what_was_sent(service: "Service") -> None:
    from pydantic import ValidationError

    login = service.module("jwt.endpoints").LoginBody
    good = {"identifier": "a@example.com", "password": "a quiet password"}
    works(login.model_validate(good).identifier == good["identifier"], "a login body is parsed")
    with pytest.raises(ValidationError) as caught:
        login.model_validate({**good, "identifier": 1, "passwort": "canary"})
    harm("canary" in str(caught.value), "the error text contains a password from the wrong field")
    assert "passwort" in str(caught.value)


# --- no HTML ----------------------------------------------------------------------------------------------------

FAILING = (404, 405, 413, 500)


def failures(client: "Client", accept: str) -> "dict[int, Response]":
    """Return one error of each kind, requested with a browser's Accept header."""
    headers = {"Accept": accept}
    return {
        404: client.get("/missing", headers=headers),
        405: client.delete("/fails", headers=headers),
        413: client.post("/fails", headers={**headers, "Content-Length": "99999999"}),
        500: client.get("/fails", headers=headers),
    }


@protects(
    "csp-json-exact",
    html=(
        edit(
            "request/errors.py",
            "    answer = Response(body, status, content_type=content_type)\n",
            '    html = "text/html" in request.headers.get("Accept", "")\n'
            '    answer = Response(body, status, content_type="text/html" if html else content_type)\n',
        ),
        edit("edge/media_types.py", "    if not pages and kind in", "    if not kind and kind in"),  # the edge, as well
    ),
)
def test_no_error_is_html_whatever_accept_says(service: "Service") -> None:
    def fails() -> Any:
        raise RuntimeError("the view fails")

    service.adds_route("/fails", view=fails)
    client = service.client(service.user()).login()
    plain = failures(client, "application/json")
    works([answer.mimetype for answer in plain.values()] == ["application/problem+json"] * 4, "errors are problems")
    works([answer.json["status"] for answer in plain.values()] == list(FAILING), "a client can parse them")

    answers = failures(client, "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1")
    harm([status for status, answer in answers.items() if answer.mimetype == "text/html"], "an error was HTML")
    for status, answer in answers.items():
        assert (answer.status, answer.json["status"]) == (status, status)
        assert answer.headers_named("Content-Type") == ["application/problem+json"]
        assert header_table.faults(service, answer) == []
