"""Flask and one ORM query, without any login: the unit that the other figures are read in.

The person is named by a header that anybody may send, so this is no peer, only a measure.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from flask import Flask, abort, render_template, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from . import TEMPLATES, Person

PATH = "/page"


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class User(db.Model):  # type: ignore[misc, name-defined]
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)


def create_app() -> Flask:
    app = Flask(__name__, template_folder=TEMPLATES)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
    db.init_app(app)

    @app.get(PATH)
    def page() -> str:
        user = db.session.get(User, request.headers.get("X-User", 0, type=int)) or abort(401)
        return render_template("page.html", email=user.email)

    return app


def sign_in(app: Flask, people: Iterable[Person]) -> list[dict[str, str]]:
    with app.app_context():
        db.create_all()
        users = [User(email=person.email) for person in people]
        db.session.add_all(users)
        db.session.commit()
        return [{"X-User": str(user.id)} for user in users]
