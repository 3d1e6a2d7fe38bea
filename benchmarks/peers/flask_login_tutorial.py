"""Flask-Login the way its introduction and the usual tutorials use it: defaults, and the user loaded through the ORM.

No CSRF, headers, limits, host check, revocation or timeouts: this is what a page costs before anybody protects it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from flask import Flask, render_template
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
)
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from . import TEMPLATES, Person, session_cookie

PATH = "/page"


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)
login_manager = LoginManager()


class User(UserMixin, db.Model):  # type: ignore[misc, name-defined]
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]


@login_manager.user_loader  # type: ignore[untyped-decorator]
def load_user(user_id: str) -> User | None:
    return db.session.get(User, int(user_id))


def create_app() -> Flask:
    app = Flask(__name__, template_folder=TEMPLATES)
    app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
    db.init_app(app)
    login_manager.init_app(app)

    @app.get(PATH)
    @login_required  # type: ignore[untyped-decorator]
    def page() -> str:
        return render_template("page.html", email=current_user.email)

    return app


def sign_in(app: Flask, people: Iterable[Person]) -> list[dict[str, str]]:
    with app.app_context():
        db.create_all()
        users = [(person, User(email=person.email, password_hash="not used here")) for person in people]
        db.session.add_all(user for _, user in users)
        db.session.commit()
        return [session_cookie(app, person, lambda user=user: login_user(user)) for person, user in users]  # type: ignore[misc]
