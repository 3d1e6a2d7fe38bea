"""Edges of the proofs in test_database_exact.py: further attacks on the same protections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..accounts import account, accounts
from ..harness import edit, harm, protects, works
from ..service import DATABASE
from ..test_database_exact import ROW

if TYPE_CHECKING:
    from ..running import Service


if DATABASE == "mysql":

    @protects(ROW, length=edit("database/mysql.py", "sql_mode = 'TRADITIONAL'", "sql_mode = ''"))
    def test_an_address_that_is_too_long_is_not_cut_to_somebody_elses(service: Service) -> None:
        def view() -> Any:
            """An import of a team's, which has forgotten to look how long an address is."""
            from flask import request

            database, users = service.module("database"), service.module("identity.users")
            with database.transaction() as connection:
                users.insert_user(connection, request.args["email"], "no hash")
            return "made"

        service.adds_route("/import", view=view, mark="public")
        client, theirs = service.client(), f"{'a' * 242}@example.com"
        works(
            client.get("/import", query={"email": "bob@example.com"}).text == "made", "an address that fits is stored"
        )
        answer = client.get("/import", query={"email": f"{theirs}.attacker.example"})
        harm(account(service, theirs), "whoever has another address has the account of this one")
        assert (answer.status, accounts(service)) == (500, 1)
