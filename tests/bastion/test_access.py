"""Unit tests beside the proofs in test_access.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from ..running import Service


def test_the_static_folder_of_a_blueprint_is_opened_as_the_message_says(service: Service, tmp_path: Path) -> None:
    from flask import Blueprint

    (tmp_path / "leaf.txt").write_text("leaf", encoding="utf-8")
    shop = Blueprint("shop", __name__, static_folder=tmp_path, static_url_path="/shop/static")
    service.adds(lambda app: app.register_blueprint(shop))
    cure = "app.view_functions['shop.static'] = public(app.view_functions['shop.static'])"
    assert service.start().reasons[0].endswith(cure)
    public = service.module().public

    def as_the_message_says(app: Flask) -> None:
        app.view_functions["shop.static"] = public(app.view_functions["shop.static"])

    service.adds(as_the_message_says)
    answer = service.client().get("/shop/static/leaf.txt")
    assert (answer.status, answer.text) == (200, "leaf")
