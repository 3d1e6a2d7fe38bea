"""Proofs of jwt/schema.py: a request with an undeclared field or an invalid value changes nothing.

The fields are read from the service's own description, so that those which the team adds later are attacked as well.
"""

# No `from __future__ import annotations` here: the operations read the annotations of functions inside a function.
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..databases import changed, everything
from ..harness import edit, harm, protects, works

if TYPE_CHECKING:
    from ..running import Service
    from ..wire import Response


ODD = ("a\u202eb", "a\u2066b", "a\x1bb", "a\x7fb", "a\x85b", "\u202aa", "a\u2028b")
INSIDE = ("a number", "text", "too long", "too many", "odd")  # of a field in a field; each session has a ceiling
TEXT = 1_000  # characters of a text that declares no maximum: the base of every schema gives it one
Shape = dict[str, Any]


class Described:
    """The service's own OpenAPI document: its operations, with what they take."""

    def __init__(self, service: "Service") -> None:
        with service.app.app_context():
            self._document: Any = service.module("jwt.openapi").describe(service.app)

    def operations(self) -> Iterator[tuple[str, str, Shape]]:
        """Path, with a value for each part, method, and description."""
        for path, methods in self._document["paths"].items():
            for method, operation in methods.items():
                filled = path
                for part in operation["parameters"]:
                    if part["in"] == "path":
                        value = str(uuid.uuid4()) if part["schema"].get("format") == "uuid" else "1"
                        filled = filled.replace("{" + part["name"] + "}", value)
                yield filled, method.upper(), operation

    def whole(self, shape: Shape) -> Shape:
        """The shape itself, where it is named by a reference or may also be null."""
        if "$ref" in shape:
            return self.whole(self._document["components"]["schemas"][shape["$ref"].rpartition("/")[2]])
        if "anyOf" in shape:
            return self.whole(next(one for one in shape["anyOf"] if one.get("type") != "null"))
        return shape

    def body(self, operation: Shape) -> Shape | None:
        """Return the shape of the JSON that the operation takes, or None."""
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        return None if content is None else self.whole(content["schema"])

    def example(self, shape: Shape) -> Any:
        """A value that fits."""
        shape = self.whole(shape)
        kind = shape.get("type")
        if "enum" in shape or "const" in shape:
            return shape["enum"][0] if "enum" in shape else shape["const"]
        if kind == "object":
            required = shape.get("required", [])
            return {name: self.example(one) for name, one in shape.get("properties", {}).items() if name in required}
        if kind == "array":
            return [self.example(shape["items"])] * int(shape.get("minItems", 0))
        if kind == "string":
            known = {"uuid": str(uuid.uuid4()), "date": "2024-01-01", "date-time": "2024-01-01T00:00:00Z"}
            return known.get(shape.get("format", ""), "a" * max(1, int(shape.get("minLength", 1))))
        return {"integer": shape.get("minimum", 1), "number": shape.get("minimum", 1.5), "boolean": True}[str(kind)]

    def hostile(self, shape: Shape) -> Iterator[tuple[str, Any]]:
        """Values that do not fit, each with the name of its case."""
        shape = self.whole(shape)
        kind = shape.get("type")
        if kind == "string":
            yield from (("a number", 1), ("true", True), ("null", None), ("a list", ["a"]), ("an object", {"a": "a"}))
            longest = int(shape.get("maxLength", TEXT))
            if "enum" in shape or "const" in shape or shape.get("format") in ("uuid", "date", "date-time"):
                yield "another word", "nothing of the list"
            else:
                yield from (("too long", "x" * (longest + 1)), ("far too long", "x" * 100_000))
                if int(shape.get("minLength", 0)) > 0:
                    yield "too short", ""
                if shape.get("format") != "password":
                    yield from (("odd", text) for text in ODD)
        elif kind in ("integer", "number"):
            yield from (("text", "1"), ("true", True), ("a list", [1]), ("an object", {}), ("empty", ""))
            if kind == "integer":
                yield "a fraction", 1.5
            yield from (("too small", shape["minimum"] - 1) for _ in range("minimum" in shape))
            yield from (("too large", shape["maximum"] + 1) for _ in range("maximum" in shape))
        elif kind == "boolean":
            yield from (("text", "true"), ("a number", 1), ("zero", 0), ("a list", [True]), ("an object", {}))
        elif kind == "array":
            yield from (("text", "a"), ("an object", {}), ("a number", 1))
            yield from (
                ("too many", [self.example(shape["items"])] * (shape["maxItems"] + 1))
                for _ in range("maxItems" in shape)
            )
        elif kind == "object":
            yield from (("text", "a"), ("a list", []), ("a number", 1))
            fitting, declared = self.example(shape), shape.get("properties", {})
            if not (declared and shape.get("additionalProperties") is True):  # it says that it drops what it has not
                yield "undeclared", {**fitting, "role": "admin"}
            for name, one in declared.items():
                inside = {case: value for case, value in self.hostile(one) if case in INSIDE}
                yield from ((f"{name} {case}", {**fitting, name: value}) for case, value in inside.items())

    def schema(self, name: str) -> Shape:
        """The shape of this name."""
        found: Shape = self._document["components"]["schemas"][name]
        return found

    def leaves(self, shape: Shape, name: str = "") -> Iterator[tuple[str, Shape]]:
        """The texts and lists in it, with their names."""
        shape = self.whole(shape)
        if shape.get("type") in ("string", "array"):
            yield name, shape
        for inner, one in shape.get("properties", {}).items():
            yield from self.leaves(one, f"{name}.{inner}" if name else inner)
        if "items" in shape:
            yield from self.leaves(shape["items"], f"{name}[]")

    @staticmethod
    def bounds(shape: Shape) -> tuple[int, int]:
        """The fewest and the most characters of a text, or items of a list."""
        kind = "Items" if shape["type"] == "array" else "Length"
        return shape.get(f"min{kind}", 0), shape[f"max{kind}"]

    def unbounded(self, shape: Shape) -> bool:
        """Whether it declares no end: a number without a maximum, a list without a number of items."""
        shape = self.whole(shape)
        kind = shape.get("type")
        return (kind == "integer" and "maximum" not in shape) or (kind == "array" and "maxItems" not in shape)


def pointers(answer: "Response") -> set[str]:
    return {fault.get("pointer", fault.get("parameter")) for fault in answer.json.get("errors", [])}


@protects(
    "input-validated-typed",
    characters=edit(
        "jwt/schema.py",
        'raise PydanticCustomError("plain_text", "This text holds characters that can\'t be shown safely.")',
        "continue",
    ),
)
def test_no_field_of_any_operation_takes_what_it_does_not_declare(service: "Service") -> None:
    service.at_least(body_bytes=1_048_576, requests_per_minute_and_session=120)
    probe = service.adds_probe()
    roles: tuple[str, ...] = tuple(service.module("state").state_of(service.app).team.roles)
    honest = service.client(service.user(roles=roles)).login()
    works(probe.create(honest, title="x" * 200, body="y" * 1000).status == 201, "the longest texts are accepted")
    works(probe.create(honest, title="Zoë", body="two\nlines\tand a tab").status == 201, "ordinary texts are accepted")
    described = Described(service)
    found = {(method, path): operation for path, method, operation in described.operations()}
    works({("POST", "/auth/login"), ("POST", "/probe")} <= found.keys(), "the document describes login and a feature")
    users = [service.user(roles=roles) for _ in found]  # one has few sessions, and each has a ceiling
    clients = [service.client(user, f"192.0.2.{number % 200 + 20}").login() for number, user in enumerate(users)]
    before = everything(service)

    taken: list[str] = []
    unbounded: list[str] = []
    for client, ((method, path), operation) in zip(clients, found.items(), strict=True):
        body = described.body(operation)
        for name, shape in (body or {}).get("properties", {}).items():
            unbounded += [f"{method} {path}: {name}" for _ in range(described.unbounded(shape))]
            required = [("missing", None)] if name in (body or {}).get("required", ()) else []
            for case, value in [*required, *described.hostile(shape)]:
                sent = {**described.example(body or {}), name: value}
                if case == "missing":
                    del sent[name]
                answer = client.send(method, path, json=sent)
                told = answer.status == 422 and [one for one in pointers(answer) if one.startswith(f"#/{name}")]
                taken += [
                    f"{method} {path}: {name} {case}: {answer.status} {answer.text[:200]}" for _ in range(not told)
                ]
        if body is not None:
            answer = client.send(method, path, json={**described.example(body), "role": "admin"})
            taken += [f"{method} {path}: undeclared: {answer.status}" for _ in range(answer.status != 422)]
    kept = [table for table in changed(before, everything(service)) if table != "audit_event"]  # what was refused
    harm(kept, "the service stored an undeclared or invalid value")
    assert taken == []
    assert unbounded == []
    assert len([one for one in found.values() if described.body(one)]) >= 4
