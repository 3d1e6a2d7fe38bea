"""What takes the place of a library in a service of this template: who leaves both in has two layers that disagree.

A second set of headers, a second session cookie or a second table of users is not more protection: the weaker of the
two decides, and no proof looks at it. Libraries that are not named here stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Successor:
    """Where to look now, and what of the old goes. `stays` is for a library that the template brings itself."""

    place: str
    how: str
    stays: bool = False


_LOGIN = Successor(
    "bastion/session/ and bastion/request/access.py",
    "import current_user and login_required from .bastion; take out LoginManager, user_loader, login_user() and your "
    "own pages of signing in: accounts are the template's",
    stays=True,
)
_ACCOUNTS = Successor(
    "bastion/identity/ and bastion/request/access.py",
    "accounts, roles, passwords and second factors are the template's; roles go into settings.py, @requires onto views",
)
_TOKENS = Successor(
    "bastion/jwt/ (auth=jwt)",
    "jwt_required() becomes @login_required, get_jwt_identity() becomes current_user.id; /auth/login gives the tokens",
)
_PASSWORDS = Successor(
    "bastion/identity/passwords.py",
    "Argon2id; old hashes are not taken over: invite each user with `users create` to choose a new password",
)
_HEADERS = Successor(
    "bastion/edge/headers.py, https_only.py", "take it out: headers and https are on every answer; two policies fight"
)
_CSRF = Successor(
    "bastion/session/csrf.py, forms.py",
    "take out CSRFProtect; a form extends SubmittedForm, or holds the hidden field csrf_token",
    stays=True,
)
_LIMITS = Successor(
    "bastion/throttle/__init__.py, edge/ceiling.py", "take it out: ceilings per address, session and account are there"
)
_SESSIONS = Successor(
    "bastion/identity/sessions.py", "sessions are rows; what you kept in Flask's `session` goes into a table of yours"
)
_MIGRATIONS = Successor(
    "src/<package>/migrations/ with Flask-Alembic",
    'move migrations/versions/*.py there, and give the oldest one branch_labels = ("team",); `db upgrade` applies both',
)
_DATA = Successor(
    "bastion/database/ with Flask-SQLAlchemy-Lite",
    "from .bastion.database import Base, db: models extend Base, db.session stays, Model.query becomes select(Model)",
)
_MAIL = Successor("bastion/mail/", "mails of accounts are sent by its outbox; what you send yourself may stay")
_SERVER = Successor("`serve` with gunicorn", "the proofs of the server are of gunicorn with threads, and of no other")
_SETTINGS = Successor(
    "settings.py", "a field of Settings is read from APP_<NAME>; no .env is read: `dev` makes what development needs"
)
_POSTGRESQL = Successor("psycopg 3", "the address is postgresql://user@host/name, without the password")
_MYSQL = Successor("PyMySQL", "the address is mysql://user@host/name, without the password")

SUCCESSORS: Final[Mapping[str, Successor]] = {
    "flask-login": _LOGIN,
    **dict.fromkeys(
        (
            "flask-security",
            "flask-security-too",
            "flask-user",
            "flask-praetorian",
            "flask-httpauth",
            "flask-principal",
            "flask-simplelogin",
            "flask-rbac",
        ),
        _ACCOUNTS,
    ),
    **dict.fromkeys(("flask-jwt", "flask-jwt-extended", "flask-jwt-simple"), _TOKENS),
    **dict.fromkeys(("flask-bcrypt", "flask-argon2", "flask-scrypt", "bcrypt", "passlib"), _PASSWORDS),
    **dict.fromkeys(("flask-talisman", "flask-sslify", "flask-csp", "secure"), _HEADERS),
    "flask-wtf": _CSRF,
    "flask-seasurf": Successor(_CSRF.place, _CSRF.how),
    "flask-limiter": _LIMITS,
    **dict.fromkeys(("flask-session", "flask-kvsession", "flask-paranoid"), _SESSIONS),
    "flask-cors": Successor("BASTION_CORS_ORIGINS", "name the origins there (auth=jwt); pages are of one origin"),
    **dict.fromkeys(("flask-migrate", "alembic"), _MIGRATIONS),
    "flask-sqlalchemy": _DATA,
    **dict.fromkeys(("flask-mail", "flask-mailman"), _MAIL),
    "flask-script": Successor("app.cli", "a command is a function under @app.cli.command()"),
    **dict.fromkeys(("uwsgi", "waitress", "gevent", "eventlet", "uvicorn", "hypercorn"), _SERVER),
    **dict.fromkeys(("python-dotenv", "flask-dotenv", "python-decouple", "environs", "flask-env"), _SETTINGS),
    **dict.fromkeys(("psycopg2", "psycopg2-binary", "pg8000"), _POSTGRESQL),
    **dict.fromkeys(("mysqlclient", "mysql-connector-python", "flask-mysqldb"), _MYSQL),
    "flask-admin": Successor("pages of your own", "its views carry no access rule, so the start would stop at each"),
    "flask-debugtoolbar": Successor("nothing", "it shows settings and runs code; `dev` shows errors in the terminal"),
}
SIGNING_IN: Final = frozenset(
    name for name, successor in SUCCESSORS.items() if successor in (_LOGIN, _ACCOUNTS, _TOKENS, _PASSWORDS)
)
"""Libraries of applications that have accounts."""
