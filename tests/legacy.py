"""An application as it was written five years ago, from which `flask-bastion adopt` begins: invoices of a company.

It has what such applications have: a factory in a package that lies in the root, Flask-Login, Flask-SQLAlchemy with
migrations of Flask-Migrate, a key in the source, a list of requirements, and tests that pass.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from support import git

NAME = "invoices"
KEY = "d0b1a2c3-legacy-key-in-the-source"  # no report may hold it
FILES: dict[str, str] = {
    "README.md": "# Invoices\n\nWho owes us what.\n",
    ".gitignore": "*.pyc\n.venv/\ninstance/\n.env\n/node_modules/\n",
    "requirements.txt": (
        "# what the application needs\n"
        "Flask>=2.3\n"
        "Flask-Login==0.6.3\n"
        "Flask-SQLAlchemy>=3.1  # with sessions of SQLAlchemy 2\n"
        "Flask-Migrate\n"
        "Flask-WTF>=1.2\n"
        "Flask-Talisman\n"
        "python-dateutil>=2.8\n"
        "itsdangerous==2.2.0\n"
    ),
    "requirements-dev.txt": "-r requirements.txt\npytest>=7\nfreezegun>=1.2\n",
    "pyproject.toml": (
        "[tool.black]\n"
        "line-length = 100\n"
        "\n"
        "[tool.pytest.ini_options]\n"
        'testpaths = ["tests"]\n'
        'pythonpath = ["."]\n'
        'markers = ["slow: takes its time"]\n'
    ),
    "Procfile": "web: gunicorn 'invoices:create_app()'\n",
    "config.py": (
        "import os\n"
        "\n"
        "\n"
        "class Config:\n"
        f'    SECRET_KEY = os.environ.get("SECRET_KEY") or "{KEY}"\n'
        '    SQLALCHEMY_DATABASE_URI = os.environ.get("DATABASE_URL", "sqlite:///invoices.db")\n'
        "    PAGE_SIZE = 20\n"
    ),
    "invoices/__init__.py": (
        "from flask import Flask\n"
        "from flask_login import LoginManager\n"
        "from flask_migrate import Migrate\n"
        "from flask_sqlalchemy import SQLAlchemy\n"
        "\n"
        "from config import Config\n"
        "\n"
        "db = SQLAlchemy()\n"
        "login = LoginManager()\n"
        'login.login_view = "auth.login"\n'
        "\n"
        "\n"
        "def create_app(config=Config):\n"
        "    app = Flask(__name__)\n"
        "    app.config.from_object(config)\n"
        "    db.init_app(app)\n"
        "    login.init_app(app)\n"
        "    Migrate(app, db)\n"
        "    from .auth import auth\n"
        "    from .views import main\n"
        "\n"
        "    app.register_blueprint(auth)\n"
        "    app.register_blueprint(main)\n"
        "    return app\n"
    ),
    "invoices/models.py": (
        "from flask_login import UserMixin\n"
        "from werkzeug.security import check_password_hash, generate_password_hash\n"
        "\n"
        "from . import db, login\n"
        "\n"
        "\n"
        "class User(UserMixin, db.Model):\n"
        "    id = db.Column(db.Integer, primary_key=True)\n"
        "    email = db.Column(db.String(200), unique=True, nullable=False)\n"
        "    password_hash = db.Column(db.String(300), nullable=False)\n"
        "\n"
        "    def set_password(self, password):\n"
        "        self.password_hash = generate_password_hash(password)\n"
        "\n"
        "    def check_password(self, password):\n"
        "        return check_password_hash(self.password_hash, password)\n"
        "\n"
        "\n"
        "class Invoice(db.Model):\n"
        "    id = db.Column(db.Integer, primary_key=True)\n"
        "    customer = db.Column(db.String(200), nullable=False)\n"
        "    cents = db.Column(db.Integer, nullable=False)\n"
        "    paid = db.Column(db.Boolean, nullable=False, default=False)\n"
        "\n"
        "\n"
        "@login.user_loader\n"
        "def load_user(id):\n"
        "    return db.session.get(User, int(id))\n"
    ),
    "invoices/auth.py": (
        "from flask import Blueprint, redirect, render_template, request, url_for\n"
        "from flask_login import login_required, login_user, logout_user\n"
        "\n"
        "from .models import User\n"
        "\n"
        'auth = Blueprint("auth", __name__)\n'
        "\n"
        "\n"
        '@auth.route("/login", methods=["GET", "POST"])\n'
        "def login():\n"
        '    if request.method == "POST":\n'
        '        user = User.query.filter_by(email=request.form["email"]).first()\n'
        '        if user and user.check_password(request.form["password"]):\n'
        "            login_user(user)\n"
        '            return redirect(request.args.get("next") or url_for("main.index"))\n'
        '    return render_template("login.html")\n'
        "\n"
        "\n"
        '@auth.route("/logout")\n'
        "@login_required\n"
        "def logout():\n"
        "    logout_user()\n"
        '    return redirect(url_for("auth.login"))\n'
    ),
    "invoices/views.py": (
        "from flask import Blueprint, redirect, render_template, request, url_for\n"
        "from flask_login import login_required\n"
        "\n"
        "from . import db\n"
        "from .models import Invoice\n"
        "\n"
        'main = Blueprint("main", __name__)\n'
        "\n"
        "\n"
        '@main.route("/")\n'
        "@login_required\n"
        "def index():\n"
        "    invoices = Invoice.query.order_by(Invoice.id).all()\n"
        '    return render_template("index.html", invoices=invoices)\n'
        "\n"
        "\n"
        '@main.route("/invoices", methods=["POST"])\n'
        "def add():\n"
        '    db.session.add(Invoice(customer=request.form["customer"], cents=int(request.form["cents"])))\n'
        "    db.session.commit()\n"
        '    return redirect(url_for("main.index"))\n'
        "\n"
        "\n"
        '@main.route("/about")\n'
        "def about():\n"
        '    return "Invoices of ACME"\n'
    ),
    "invoices/templates/login.html": (
        '<form method="post"><input name="email"><input name="password" type="password"><button>Go</button></form>\n'
    ),
    "invoices/templates/index.html": (
        "<h1>Invoices</h1>\n"
        "<ul>{% for one in invoices %}<li>{{ one.customer }}: {{ one.cents / 100 }}</li>{% endfor %}</ul>\n"
        '<form method="post" action="{{ url_for(\'main.add\') }}">\n'
        '<input name="customer"><input name="cents" type="number"><button>Add</button></form>\n'
    ),
    "migrations/versions/4f1c_invoices.py": (
        '"""users and invoices"""\n'
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        "\n"
        'revision = "4f1c9a2b7d10"\n'
        "down_revision = None\n"
        "branch_labels = None\n"
        "depends_on = None\n"
        "\n"
        "\n"
        "def upgrade():\n"
        '    op.create_table("user", sa.Column("id", sa.Integer(), primary_key=True),\n'
        '        sa.Column("email", sa.String(200), nullable=False, unique=True),\n'
        '        sa.Column("password_hash", sa.String(300), nullable=False))\n'
        '    op.create_table("invoice", sa.Column("id", sa.Integer(), primary_key=True),\n'
        '        sa.Column("customer", sa.String(200), nullable=False),\n'
        '        sa.Column("cents", sa.Integer(), nullable=False))\n'
        "\n"
        "\n"
        "def downgrade():\n"
        '    op.drop_table("invoice")\n'
        '    op.drop_table("user")\n'
    ),
    "migrations/versions/8b2e_paid.py": (
        '"""paid"""\n'
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        "\n"
        'revision = "8b2e7c105f33"\n'
        'down_revision = "4f1c9a2b7d10"\n'
        "branch_labels = None\n"
        "depends_on = None\n"
        "\n"
        "\n"
        "def upgrade():\n"
        '    with op.batch_alter_table("invoice") as table:\n'
        '        table.add_column(sa.Column("paid", sa.Boolean(), nullable=False, server_default=sa.false()))\n'
        "\n"
        "\n"
        "def downgrade():\n"
        '    with op.batch_alter_table("invoice") as table:\n'
        '        table.drop_column("paid")\n'
    ),
    "tests/__init__.py": "",
    "tests/conftest.py": (
        "import pytest\n"
        "\n"
        "from config import Config\n"
        "from invoices import create_app, db\n"
        "from invoices.models import User\n"
        "\n"
        "\n"
        "class TestConfig(Config):\n"
        "    TESTING = True\n"
        '    SECRET_KEY = "test"\n'
        '    SQLALCHEMY_DATABASE_URI = "sqlite://"\n'
        "\n"
        "\n"
        "@pytest.fixture\n"
        "def client():\n"
        "    app = create_app(TestConfig)\n"
        "    with app.app_context():\n"
        "        db.create_all()\n"
        '        user = User(email="ada@example.com")\n'
        '        user.set_password("secret")\n'
        "        db.session.add(user)\n"
        "        db.session.commit()\n"
        "        yield app.test_client()\n"
    ),
    "tests/test_invoices.py": (
        "def test_an_invoice_is_listed(client):\n"
        '    client.post("/login", data={"email": "ada@example.com", "password": "secret"})\n'
        '    client.post("/invoices", data={"customer": "Globex", "cents": "995"})\n'
        '    assert b"Globex: 9.95" in client.get("/").data\n'
        "\n"
        "\n"
        "def test_nobody_reads_without_signing_in(client):\n"
        '    assert client.get("/").status_code == 302\n'
    ),
}
LIBRARIES = ("flask>=3.1", "flask-login==0.6.3", "flask-sqlalchemy>=3.1", "flask-migrate", "pytest")
"""What its own tests need."""


def write(folder: Path, files: dict[str, str] | None = None) -> Path:
    """Write the application into a folder that is made for it."""
    for name, text in (FILES if files is None else files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def committed(folder: Path, files: dict[str, str] | None = None) -> Path:
    """The same, in git."""
    write(folder, files)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "five years of work")
    return folder


def moved(folder: Path) -> Path:
    """The same, after the first step: the package lies below src/."""
    committed(folder)
    (folder / "src").mkdir()
    git(folder, "mv", NAME, f"src/{NAME}")
    git(folder, "commit", "--quiet", "--message", "move the package below src")
    return folder


PORTED: dict[str, str] = {
    "src/invoices/__init__.py": '"""Who owes us what."""\n',
    "src/invoices/app.py": (
        '"""What this service adds to its protections."""\n'
        "\n"
        "from __future__ import annotations\n"
        "\n"
        "from flask import Flask\n"
        "\n"
        "from .bastion import service\n"
        "from .settings import Settings\n"
        "from .views import main\n"
        "\n"
        "\n"
        "@service(Settings)\n"
        "def create_app(app: Flask) -> None:\n"
        '    """The pages of the invoices."""\n'
        "    app.register_blueprint(main)\n"
    ),
    "src/invoices/models.py": (
        "from sqlalchemy.orm import Mapped, mapped_column\n"
        "from sqlalchemy import String\n"
        "\n"
        "from .bastion.database import Base\n"
        "\n"
        "\n"
        "class Invoice(Base):\n"
        '    __tablename__ = "invoice"\n'
        "\n"
        "    id: Mapped[int] = mapped_column(primary_key=True)\n"
        "    customer: Mapped[str] = mapped_column(String(200))\n"
        "    cents: Mapped[int]\n"
        "    paid: Mapped[bool] = mapped_column(default=False)\n"
    ),
    "src/invoices/views.py": (
        "from flask import Blueprint, Response, redirect, render_template, url_for\n"
        "from flask.typing import ResponseReturnValue\n"
        "from sqlalchemy import select\n"
        "from wtforms import IntegerField\n"
        "from wtforms.validators import NumberRange\n"
        "\n"
        "from .bastion import login_required, public\n"
        "from .bastion.database import db\n"
        "from .bastion.session.forms import InputRequired, Length, PlainText, StringField, SubmittedForm\n"
        "from .models import Invoice\n"
        "\n"
        'main = Blueprint("main", __name__, template_folder="templates")\n'
        "\n"
        "\n"
        "class InvoiceForm(SubmittedForm):\n"
        '    customer = StringField("Customer", [InputRequired(), Length(max=200), PlainText()])\n'
        '    cents = IntegerField("Cents", [InputRequired(), NumberRange(min=1, max=10**9)])\n'
        "\n"
        "\n"
        '@main.get("/invoices")\n'
        "@login_required\n"
        "def index() -> ResponseReturnValue:\n"
        "    invoices = db.session.scalars(select(Invoice).order_by(Invoice.id)).all()\n"
        '    return render_template("index.html", invoices=invoices, form=InvoiceForm())\n'
        "\n"
        "\n"
        '@main.post("/invoices")\n'
        "@login_required\n"
        "def add() -> ResponseReturnValue:\n"
        "    form = InvoiceForm()\n"
        "    if not form.validate():\n"
        '        return render_template("index.html", invoices=[], form=form), 422\n'
        "    db.session.add(Invoice(customer=form.customer.data, cents=form.cents.data))\n"
        "    db.session.commit()\n"
        '    return redirect(url_for("main.index"), 303)\n'
        "\n"
        "\n"
        '@main.get("/about")\n'
        "@public\n"
        "def about() -> ResponseReturnValue:\n"
        '    return Response("Invoices of ACME", mimetype="text/plain")\n'
    ),
    "src/invoices/templates/index.html": (
        '{% extends "bastion/base.html" %}\n'
        '{% from "bastion/_form.html" import field, problems, submit %}\n'
        "{% block title %}Invoices{% endblock %}\n"
        "{% block content %}\n"
        "<h1>Invoices</h1>\n"
        "<ul>{% for one in invoices %}<li>{{ one.customer }}: {{ one.cents / 100 }}</li>{% endfor %}</ul>\n"
        "{{ problems(form) }}\n"
        '<form method="post" action="{{ url_for(\'main.add\') }}">\n'
        "{{ form.hidden_tag() }}{{ field(form.customer) }}{{ field(form.cents) }}{{ submit('Add') }}</form>\n"
        "{% endblock %}\n"
    ),
    "tests/test_invoices.py": (
        "from proofs.running import Service\n"
        "\n"
        "\n"
        "def test_an_invoice_is_listed(service: Service) -> None:\n"
        "    browser = service.client(service.user()).login()\n"
        '    assert browser.post("/invoices", {"customer": "Globex", "cents": "995"}).status == 303\n'
        '    assert "Globex: 9.95" in browser.get("/invoices").text\n'
        "\n"
        "\n"
        "def test_nobody_reads_without_signing_in(service: Service) -> None:\n"
        '    assert service.client().get("/invoices").status == 303\n'
    ),
}
"""What a team writes anew, as the steps say."""
REMOVED = (
    "config.py",
    "requirements.txt",
    "requirements-dev.txt",
    "Procfile",
    "src/invoices/auth.py",
    "src/invoices/templates/login.html",
    "tests/__init__.py",
    "tests/conftest.py",
)


def merge(folder: Path) -> None:
    """What a team does after `adopt --write`, step by step, up to its own commands."""
    for name in ("pyproject.toml", ".gitignore"):
        (folder / "bastion-adopt" / name).replace(folder / name)
    for name in REMOVED:
        (folder / name).unlink()
    write(folder, PORTED)
    edit = folder / "src" / NAME / "settings.py"
    text = edit.read_text(encoding="utf-8")
    edit.write_text(f'{text}    start_page: ClassVar[str] = "main.index"\n', encoding="utf-8")
    migrations = folder / "src" / NAME / "migrations"
    for old in (folder / "migrations" / "versions").glob("*.py"):
        text = old.read_text(encoding="utf-8")
        if "down_revision = None" in text:
            text = text.replace("branch_labels = None", 'branch_labels = ("team",)')
        (migrations / old.name).write_text(text, encoding="utf-8")
    shutil.rmtree(folder / "migrations")
    shutil.rmtree(folder / "bastion-adopt")


def make_database(file: Path) -> None:
    """Its database after five years, to which both of its migrations were applied."""
    with sqlite3.connect(file) as connection:
        connection.executescript(
            """
            CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
            INSERT INTO alembic_version VALUES ('8b2e7c105f33');
            CREATE TABLE user (id INTEGER PRIMARY KEY, email VARCHAR(200) NOT NULL UNIQUE,
                               password_hash VARCHAR(300) NOT NULL);
            CREATE TABLE invoice (id INTEGER PRIMARY KEY, customer VARCHAR(200) NOT NULL, cents INTEGER NOT NULL,
                                  paid BOOLEAN NOT NULL DEFAULT 0);
            INSERT INTO user VALUES (1, 'ada@example.com', 'scrypt:32768:8:1$salt$hash');
            INSERT INTO invoice VALUES (1, 'Globex', 995, 0);
            """
        )
    file.chmod(0o600)
