"""Flask-JWT-Extended as its page on automatic user loading says: HS256, and the user loaded at each call.

No revocation, headers, limits or host check: a token is good until it expires.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from flask import Flask, Response, jsonify
from flask_jwt_extended import JWTManager, create_access_token, current_user, jwt_required
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from . import Person

PATH = "/who-am-i"


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)
jwt = JWTManager()


class User(db.Model):  # type: ignore[misc, name-defined]
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]


@jwt.user_identity_loader
def identity_of(user: User) -> str:
    return str(user.id)


@jwt.user_lookup_loader
def look_up(_header: Mapping[str, Any], claims: Mapping[str, Any]) -> User | None:
    return User.query.filter_by(id=int(claims["sub"])).one_or_none()  # type: ignore[no-any-return]


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["JWT_SECRET_KEY"] = os.environ["SECRET_KEY"]
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
    db.init_app(app)
    jwt.init_app(app)

    @app.get(PATH)
    @jwt_required()  # type: ignore[untyped-decorator]
    def who_am_i() -> Response:
        return jsonify(email=current_user.email)

    return app


def sign_in(app: Flask, people: Iterable[Person]) -> list[dict[str, str]]:
    with app.app_context():
        db.create_all()
        users = [User(email=person.email, password_hash="not used here") for person in people]
        db.session.add_all(users)
        db.session.commit()
        return [{"Authorization": f"Bearer {create_access_token(identity=user)}"} for user in users]
