"""Flask-Security with the defaults and settings of its quick start for Flask-SQLAlchemy.

One thing is kinder than the quick start: the page is a template file, as with every peer; a string would be compiled
anew at each request.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from flask import Flask, render_template
from flask_security import (
    Security,
    SQLAlchemyUserDatastore,
    auth_required,
    current_user,
    hash_password,
)
from flask_security.models import fsqla_v3 as fsqla
from flask_security.utils import login_user
from flask_sqlalchemy import SQLAlchemy

from . import TEMPLATES, Person, session_cookie

PATH = "/page"

db = SQLAlchemy()
fsqla.FsModels.set_db_info(db)  # type: ignore[attr-defined, no-untyped-call]


class Role(db.Model, fsqla.FsRoleMixin):  # type: ignore[misc, name-defined]
    pass


class User(db.Model, fsqla.FsUserMixin):  # type: ignore[misc, name-defined]
    pass


class WebAuthn(db.Model, fsqla.FsWebAuthnMixin):  # type: ignore[misc, name-defined]
    """Flask-Security's user refers to it as soon as the package webauthn is installed, which ours needs."""


datastore = SQLAlchemyUserDatastore(db, User, Role, webauthn_model=WebAuthn)


def create_app() -> Flask:
    app = Flask(__name__, template_folder=TEMPLATES)
    app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]
    app.config["SECURITY_PASSWORD_SALT"] = os.environ["SECRET_KEY"][::-1]
    app.config["REMEMBER_COOKIE_SAMESITE"] = "strict"
    app.config["SESSION_COOKIE_SAMESITE"] = "strict"
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_pre_ping": True}
    db.init_app(app)
    Security(app, datastore)

    @app.get(PATH)
    @auth_required()
    def page() -> str:
        return render_template("page.html", email=current_user.email)

    return app


def sign_in(app: Flask, people: Iterable[Person]) -> list[dict[str, str]]:
    with app.app_context():
        db.create_all()
        one_hash = hash_password("the same for all: hashing is not measured here")
        users = [(person, datastore.create_user(email=person.email, password=one_hash)) for person in people]
        db.session.commit()
        return [session_cookie(app, person, lambda user=user: login_user(user)) for person, user in users]  # type: ignore[misc]
