"""Ownership: another user cannot read, change, delete, list, count or find a user's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .harness import edit, harm, protects, refused, works
from .service import AUTH

if TYPE_CHECKING:
    from .running import Service


CHANGED = {"session": 303, "jwt": 200}[AUTH]
DONE = {"session": 303, "jwt": 204}[AUTH]
SECRET = "canary of the owner"


@protects(
    "ownership-404",
    owner=edit(
        "request/queries.py",
        "db.session.scalars(owned(model).where(model.id == ident))",
        "db.session.scalars(select(model).where(model.id == ident))",
    ),
)
def test_another_users_object_can_be_neither_read_nor_changed_nor_deleted(service: Service) -> None:
    probe = service.adds_probe()
    owner = service.user()
    mine = service.client(owner).login()
    item, doomed = probe.add(owner, SECRET, "as it was"), probe.add(owner, "to be deleted")
    works(SECRET in probe.read(mine, item).text, "the owner reads the object")
    works(probe.change(mine, item, title=SECRET, body="changed").status == CHANGED, "the owner changes the object")
    works(probe.row(item) == (SECRET, "changed"), "the change is in the database")
    works(probe.delete(mine, doomed).status == DONE, "the owner deletes an object")
    works(probe.row(doomed) is None, "the deleted object is gone")
    for thief in (service.client(service.user()).login(), service.client(service.user(roles=("admin",))).login()):
        answers = [probe.read(thief, item), probe.change(thief, item, title="stolen"), probe.delete(thief, item)]
        harm([answer for answer in answers if SECRET in answer.text], "another user read the object")
        harm(probe.row(item) != (SECRET, "changed"), "another user changed or deleted the object")
        for answer in answers:
            refused(answer, 404, "ownership-404")
