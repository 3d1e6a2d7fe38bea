"""What is found out about an application: each library, route and secret by its place, and answers that fit.

Everything is read as data. What an attacker writes into it is at most a wrong proposal, never an answer that the
template does not take, and never a value of a secret in a report.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from flask_bastion import drift, syntax, version
from flask_bastion.adoption import application, hardcoded, project_file, proposals, requirements, routes
from flask_bastion.adoption.requirements import Asked
from flask_bastion.adoption.successors import SUCCESSORS
from flask_bastion.template import Release, TemplateError
from flask_bastion.tree import Tree
from histories import History
from legacy import write


@pytest.fixture(scope="module")
def release(history: History) -> Release:
    newest = version.parse("v1.2.1")
    assert newest is not None
    return history.template.release(newest)


# --- libraries -------------------------------------------------------------------------------------------------------


def test_every_usual_list_of_libraries_is_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "requirements.txt": (
                "# x\nFlask==1.1.2 \\\n    --hash=sha256:00\n-r more.txt\n-e .\ngit+https://h/x.git\nsix ; x\n"
            ),
            "requirements/test.txt": "pytest>=5  # runs the tests\n",
            "pyproject.toml": (
                '[project]\ndependencies = ["Flask_Login>=0.5", 3, "bad requirement!"]\n'
                '[project.optional-dependencies]\ns3 = ["boto3"]\n'
                '[dependency-groups]\nlint = ["black==20.8b1", {include-group = "x"}]\n'
                '[tool.poetry.dependencies]\npython = "^3.8"\nSQLAlchemy = "^1.4.2"\nclick = "~8.0"\nrich = "*"\n'
                'celery = {version = "5.2.7", extras = ["redis"]}\nlocal = {path = "../x"}\n'
                '[tool.poetry.group.docs.dependencies]\nsphinx = "^4"\n'
            ),
            "Pipfile": '[packages]\nflask-cors = "==3.0.10"\n[dev-packages]\nmypy = "*"\n',
            "setup.py": "import os\nos.abort()\nsetup(install_requires=['gevent>=1', *more], tests_require=['mock'])\n",
        },
    )
    found = {(one.name, one.text, one.file, one.line, one.development) for one in requirements.asked(Tree(tmp_path))}
    assert found == {
        ("flask", "Flask==1.1.2", "requirements.txt", 2, False),
        ("pytest", "pytest>=5", "requirements/test.txt", 1, True),
        ("flask-login", "Flask_Login>=0.5", "pyproject.toml", 2, False),
        ("boto3", "boto3", "pyproject.toml", 4, False),
        ("black", "black==20.8b1", "pyproject.toml", 6, True),
        ("sqlalchemy", "SQLAlchemy>=1.4.2,<2", "pyproject.toml", 9, False),
        ("click", "click~=8.0", "pyproject.toml", 10, False),
        ("rich", "rich", "pyproject.toml", 11, False),
        ("celery", "celery[redis]==5.2.7", "pyproject.toml", 12, False),
        ("local", "local", "pyproject.toml", 13, False),
        ("sphinx", "sphinx>=4,<5", "pyproject.toml", 15, True),
        ("flask-cors", "flask-cors==3.0.10", "Pipfile", 2, False),
        ("mypy", "mypy", "Pipfile", 4, True),
        ("gevent", "gevent>=1", "setup.py", 3, False),
        ("mock", "mock", "setup.py", 3, True),
    }


@pytest.mark.parametrize(
    ("wanted", "floor", "fits"),
    [
        ("==1.1.2", ">=3.1.3,<4", False),
        ("<3", ">=3.1.3,<4", False),
        ("~=2.0", ">=3.1.3,<4", False),
        (">=4", ">=3.1.3,<4", False),
        ("==3.1.*", ">=3.1.3,<4", True),
        ("==3.1.9", ">=3.1.3,<4", True),
        (">=1", ">=3.1.3,<4", True),
        ("<3.2", ">=3.1.3,<4", True),
        (">3.1.3", ">=3.1.3,<4", True),
        ("!=3.1.3", ">=3.1.3,<4", True),
        ("", ">=3.1.3,<4", True),
        ("", "", True),
    ],
)
def test_a_pin_that_can_not_be_had_with_the_templates_floor_is_a_collision(
    wanted: str, floor: str, *, fits: bool
) -> None:
    assert requirements.together(SpecifierSet(wanted), SpecifierSet(floor)) is fits


def test_a_library_that_is_said_to_be_brought_is_brought(release: Release) -> None:
    """A successor that "stays" has to be in the floors of some answer; every name is canonical."""
    floors: set[str] = set()
    for auth in ("session", "jwt"):
        floors |= requirements.floors(release.render({"auth": auth}, whole=True)["pyproject.toml"]).keys()
    for name, successor in SUCCESSORS.items():
        assert name == name.lower().replace("_", "-")
        assert (name in floors) is successor.stays, name


# --- routes ----------------------------------------------------------------------------------------------------------

OURS = "@login_required of .bastion, in place of the one that is imported now"
CODE = {
    "plain": ('@app.route("/x")\ndef x(): ...\n', "/x", "", routes.DECIDE),
    "verb": ('@bp.post("/x")\nasync def x(): ...\n', "/x", "", routes.DECIDE),
    "keyword": ('@bp.route(rule="/x")\ndef x(): ...\n', "/x", "", routes.DECIDE),
    "computed": ("@bp.route(PREFIX + '/x')\ndef x(): ...\n", "(computed)", "", routes.DECIDE),
    "login": ('@app.route("/x")\n@login_required\ndef x(): ...\n', "/x", "login_required", OURS),
    "module": ('@app.route("/x")\n@flask_login.login_required\ndef x(): ...\n', "/x", "login_required", OURS),
    "http": (
        '@app.route("/x")\n@token_auth.login_required\ndef x(): ...\n',
        "/x",
        "token_auth.login_required",
        "decide: @login_required of .bastion takes the session cookie (auth=session) or the access token (auth=jwt) of "
        "bastion, and no password or token that token_auth checks now",
    ),
    "http with a role": (
        '@app.route("/x")\n@auth.login_required(role="admin")\ndef x(): ...\n',
        "/x",
        "auth.login_required",
        "@requires(...)",
    ),
    "http that may lack": (
        '@app.route("/x")\n@auth.login_required(optional=True)\ndef x(): ...\n',
        "/x",
        "login_required",
        "@public, and ask current_user.is_authenticated inside",
    ),
    "fresh": (
        '@app.route("/x")\n@fresh_login_required\ndef x(): ...\n',
        "/x",
        "fresh_login_required",
        "@login_required(fresh=True)",
    ),
    "token": ('@app.get("/x")\n@jwt_required()\ndef x(): ...\n', "/x", "jwt_required", "@login_required"),
    "token that may lack": (
        '@app.get("/x")\n@jwt_required(optional=True)\ndef x(): ...\n',
        "/x",
        "jwt_required",
        "@public, and ask current_user.is_authenticated inside",
    ),
    "refresh": (
        '@app.post("/x")\n@jwt_required(refresh=True)\ndef x(): ...\n',
        "/x",
        "jwt_required",
        "nothing: the template exchanges refresh tokens itself",
    ),
    "role": ('@app.get("/x")\n@roles_required("admin")\ndef x(): ...\n', "/x", "roles_required", "@requires(...)"),
    "own guard": (
        '@app.get("/x")\n@only_staff\ndef x(): ...\n',
        "/x",
        "",
        f"{routes.DECIDE} (is @only_staff a guard?)",
    ),
    "rule": ('app.add_url_rule("/x", view_func=x)\n', "/x", "", routes.DECIDE),
    "class": ('app.add_url_rule("/x", "x", x.as_view("x"))\n', "/x", "", routes.DECIDE),
    "resource": ('api.add_resource(x, "/x")\n', "/x", "", routes.DECIDE),
}


@pytest.mark.parametrize("name", CODE)
def test_a_route_is_found_with_its_guard(name: str) -> None:
    source, path, guard, becomes = CODE[name]
    ((_, found),) = routes.routes("views.py", ast.parse(f"import x\n{source}"))
    assert (found.path, found.view, found.guard, found.becomes) == (path, "x", guard, becomes)
    assert found.line >= 2


@pytest.mark.parametrize(
    "source",
    [
        'if False:\n    @app.route("/x")\n    def x(): ...\n',
        'client.get("/x")\n',
        "@functools.lru_cache\ndef x(): ...\n",
        '@mock.patch("app.x")\ndef x(): ...\n',
        '"""@app.route("/x")"""\n',
        "no python\n",
    ],
)
def test_what_is_no_route_is_none(tmp_path: Path, source: str) -> None:
    assert application.look(Tree(write(tmp_path, {"views.py": source}))).routes == ()


def test_a_route_of_a_blueprint_is_told_with_the_address_that_it_has(tmp_path: Path) -> None:
    sources = {
        "src/acme/__init__.py": (
            "from .auth import bp as auth_bp\nfrom . import shop\n"
            'app.register_blueprint(auth_bp, url_prefix="/auth")\n'
            'app.register_blueprint(shop.routes.bp, url_prefix="/shop/")\n'
        ),
        "src/acme/auth/__init__.py": 'bp = Blueprint("auth", __name__)\n',
        "src/acme/auth/views.py": 'from acme.auth import bp\n@bp.route("/login")\ndef login(): ...\n',
        "src/acme/shop/routes.py": 'bp = Blueprint("s", __name__, url_prefix="/s")\n@bp.get("")\ndef shop(): ...\n',
        "src/acme/notes.py": 'notes = Blueprint("n", __name__, url_prefix="/n")\n@notes.get("/a")\ndef a(): ...\n',
        "src/acme/plain.py": 'bp = Blueprint("p", __name__)\n@bp.get("/p")\ndef p(): ...\n',
    }
    found = {route.view: route.path for route in application.look(Tree(write(tmp_path, sources))).routes}
    assert found == {"login": "/auth/login", "shop": "/shop", "a": "/n/a", "p": "/p"}


# --- secrets ---------------------------------------------------------------------------------------------------------

SECRETS = {
    "app.py": [
        'SECRET_KEY = "value"',
        'app.secret_key = "value"',
        'app.config["SECRET_KEY"] = "value"',
        'app.config.update(SECRET_KEY="value")',
        'config = {"DB_PASSWORD": "value"}',
        'SECRET_KEY = os.environ.get("SECRET_KEY", "value")',
        'SECRET_KEY = os.environ.get("SECRET_KEY") or "value"',
        'STRIPE_API_KEY: str = "value"',
        'AWS_SECRET_ACCESS_KEY = b"value"',
        'SECRET_KEY_FALLBACKS = ["value"]',
        'JWT_SECRET_KEY = "value" if TESTING else None',
        'engine = create_engine("postgresql://ada:value@db/x")',
    ],
    ".env": ["SECRET_KEY=value", "export API_TOKEN='value'", "DATABASE_URL=mysql://ada:value@db/x"],
    "compose.yaml": ["      POSTGRES_PASSWORD: value", "      - MYSQL_PASSWORD=value", '  "secret": "value"'],
    "setup.cfg": ["password = value"],
    "deploy/tls.key": ["-----BEGIN PRIVATE KEY-----"],
}
NO_SECRETS = {
    "app.py": [
        'SECRET_KEY = os.environ["SECRET_KEY"]',
        'SECRET_KEY = os.environ.get("SECRET_KEY")',
        'SECRET_KEY = ""',
        "password = form.password.data",
        'TOKEN_URL = "https://example.com/token"',
        'name = "password"',
        'SECRET_KEY = "AWS_SECRET_ACCESS_KEY"',
        'URL = "postgresql://ada@db/x"',
        'URL = f"postgresql://ada:{password}@db/x"',
        '"""SECRET_KEY = "value" """',
        '# SECRET_KEY = "value"',
    ],
    ".env": ["SECRET_KEY=", "SECRET_KEY=${OTHER}", "# SECRET_KEY=value", 'SECRET_KEY=""'],
    "compose.yaml": ["      POSTGRES_PASSWORD: ${PASSWORD}", "secrets:", "  password: !vault x", "url: http://db:80/x"],
    "Dockerfile": ["ENV PATH=/usr/bin"],
    "tls.pem": ["-----BEGIN CERTIFICATE-----", "# of an authority"],
    "public.key": ["-----BEGIN PUBLIC KEY-----"],
}


def look_for_secrets(file: str, text: str) -> list[hardcoded.Place]:
    return hardcoded.hardcoded(file, text.encode(), syntax.parse(text.encode()) if file.endswith(".py") else None)


@pytest.mark.parametrize(("file", "line"), [(file, line) for file, lines in SECRETS.items() for line in lines])
def test_a_secret_in_the_source_is_found_by_its_place(file: str, line: str) -> None:
    assert hardcoded.looks(file)
    before = "" if file.endswith("key") else "\n\n"
    (found,) = look_for_secrets(file, f"{before}{line}\n")
    assert (found.file, found.line) == (file, 1 if file.endswith("key") else 3)
    assert "value" not in found.name


@pytest.mark.parametrize(("file", "line"), [(file, line) for file, lines in NO_SECRETS.items() for line in lines])
def test_what_is_no_secret_is_not_told(file: str, line: str) -> None:
    assert look_for_secrets(file, f"{line}\n") == []


@pytest.mark.parametrize("file", ["tests/conftest.py", "test_app.py", "app/tests/x.py", "README.md", "static/x.js"])
def test_secrets_are_not_looked_for_where_they_guard_nothing(file: str) -> None:
    assert not hardcoded.looks(file)


# --- answers ---------------------------------------------------------------------------------------------------------


def found_in(tree: Tree) -> proposals.Package:
    return proposals.package(tree, application.look(tree).makers)


def fit(tmp_path: Path, release: Release, files: dict[str, str], **given: str) -> dict[str, str]:
    tree = Tree(write(tmp_path, files))
    found = proposals.answers(tree, release, requirements.asked(tree), found_in(tree), given, tmp_path.name)
    return {question: answer.value for question, answer in found.items()}


NAMED = '[project]\nname = "another"\n'
APP = "from flask import Flask\napp = Flask(__name__)\n"


@pytest.mark.parametrize(
    ("files", "fits"),
    [
        ({}, {"auth": "session", "database": "sqlite", "secrets": "env", "ci": "github"}),
        ({"requirements.txt": "psycopg2-binary\nFlask-JWT-Extended\n"}, {"auth": "jwt", "database": "postgresql"}),
        ({"requirements.txt": "PyMySQL\nFlask-Login\n"}, {"auth": "session", "database": "mysql"}),
        (
            {"requirements.txt": "flask-jwt-extended\n", "app/templates/x.html": "<p>"},
            {"auth": "session"},
        ),
        ({"config.py": 'URL = "postgres://db/x"\nTEST = "sqlite:///x"\n'}, {"database": "postgresql"}),
        ({"config.py": 'URL = "sqlite:///x.db"\n'}, {"database": "sqlite"}),
        ({"tests/config.py": 'URL = "mysql://x"\n'}, {"database": "sqlite"}),
        ({"requirements.txt": "hvac\n"}, {"secrets": "vault"}),
        ({"x.py": 'client("secretsmanager")\n'}, {"secrets": "aws"}),
        ({"compose.yaml": "file: /run/secrets/x\n"}, {"secrets": "files"}),
        ({".gitlab-ci.yml": "x"}, {"ci": "none"}),
        ({".github/workflows/x.yml": "x", "Jenkinsfile": "x"}, {"ci": "github"}),
        ({"src/acme/__init__.py": APP}, {"project_name": "acme"}),
        ({"acme/__init__.py": "", "acme/main.py": APP, "pyproject.toml": NAMED}, {"project_name": "acme"}),
        ({"app.py": APP, "pyproject.toml": '[project]\nname = "Acme.Billing"\n'}, {"project_name": "acme-billing"}),
        ({"app.py": APP, "pyproject.toml": '[tool.poetry]\nname = "acme"\n'}, {"project_name": "acme"}),
        ({"flask/__init__.py": APP}, {"project_name": "service-of-five-years"}),
        ({"app.py": APP, "pyproject.toml": '[project]\nname = "flask"\n'}, {"project_name": "flask-service"}),
        ({"pyproject.toml": '[project]\ndescription = "Who owes us what"\n'}, {"description": "Who owes us what"}),
    ],
)  # fmt: skip
def test_answers_fit_what_is_there(
    tmp_path: Path, release: Release, files: dict[str, str], fits: dict[str, str]
) -> None:
    found = fit(tmp_path / "service-of-five-years", release, files)
    assert {question: found[question] for question in fits} == fits


@pytest.mark.parametrize("hostile", ['x"\\n[tool.uv]', "$(id)", "{{ 7*7 }}", "../../x", "os", "\\u202ex", "a\\n", ""])
def test_what_an_application_says_of_itself_is_no_answer_unless_the_template_takes_it(
    tmp_path: Path, release: Release, hostile: str
) -> None:
    project = f'[project]\nname = "{hostile}"\ndescription = "{hostile} $(id)"\n'.replace('x"\\n', 'x\\"\\n')
    found = fit(tmp_path / "plain-folder", release, {"app.py": APP, "pyproject.toml": project})
    assert tomllib.loads(project)
    release.answers(found)
    assert found["description"] == "A Flask service that proves its own security"


def test_a_given_answer_that_the_template_does_not_take_is_told(tmp_path: Path, release: Release) -> None:
    assert fit(tmp_path / "x", release, {}, auth="jwt")["auth"] == "jwt", "the legitimate way"
    with pytest.raises(TemplateError, match="does not take the answer to auth"):
        fit(tmp_path / "x", release, {}, auth="oauth")
    with pytest.raises(TemplateError, match="does not ask for databse"):
        fit(tmp_path / "x", release, {}, databse="sqlite")


# --- pyproject.toml --------------------------------------------------------------------------------------------------

THEIRS = """
[build-system]
requires = ["setuptools"]
[project]
name = "billing"
version = "2.7.1"
license = "LicenseRef-Ours"
authors = [{name = "Ada", email = "ada@example.com"}]
dependencies = ["Flask==1.0"]
[project.urls]
Home = "https://example.com"
[tool.black]
line-length = 100
[tool.pytest.ini_options]
testpaths = ["tests"]
markers = ["slow: takes \\"its\\" time"]
[tool.ruff.lint]
ignore = ["E501"]
select = ["E"]
[tool.ruff.lint.isort]
known-first-party = ["billing"]
[[tool.mypy.overrides]]
module = "x.*"
[tool.strange]
"key with space" = {a = 1.5, b = [1979-05-27, true, inf]}
when = 1979-05-27T07:32:00Z
[[tool.strange.list]]
x = "ü\\u0000\\u001b"
[[tool.strange.list]]
y.z = 1
"""


@pytest.fixture(scope="module")
def template_project(release: Release) -> bytes:
    return release.render({"project_name": "billing"}, whole=True)["pyproject.toml"]


def test_the_joined_project_file_says_all_of_the_template_and_the_rest_of_the_application(
    template_project: bytes,
) -> None:
    kept = [
        Asked("requests", "requests>=2", "requirements.txt", 1, development=False),
        Asked("black", 'black ; python_version > "3.8"', "requirements.txt", 1, development=True),
    ]
    joined = project_file.join(template_project, THEIRS.encode(), kept)
    said, ours, theirs = tomllib.loads(joined.text), tomllib.loads(template_project.decode()), tomllib.loads(THEIRS)
    assert list(drift.unsaid(ours, said, "")) == []
    assert said["project"]["dependencies"] == ["billing[bastion]", "requests>=2"]
    assert said["dependency-groups"]["dev"][1:] == ['black ; python_version > "3.8"']
    assert said["project"]["version"] == "2.7.1"
    for name in ("license", "authors", "urls"):
        assert said["project"][name] == theirs["project"][name]
    for name in ("black", "strange"):
        assert said["tool"][name] == theirs["tool"][name]
    assert said["tool"]["ruff"]["lint"]["ignore"] == ["E501"]
    assert said["tool"]["ruff"]["lint"]["isort"] == theirs["tool"]["ruff"]["lint"]["isort"]
    assert said["tool"]["pytest"]["ini_options"]["markers"] == ['slow: takes "its" time']
    assert joined.overruled == ("build-system", "tool.ruff.lint.select", "tool.mypy.overrides")
    # Each line of the template's is there still, in its order, so that an update merges line by line.
    lines = iter(joined.text.splitlines())
    assert all(line in lines for line in template_project.decode().splitlines() if not line.startswith("version"))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TOML = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["black", "ruff", "pytest", "mypy", "a b"]), TOML, max_size=3))
def test_whatever_an_application_says_the_joined_file_is_valid_and_says_all_of_the_template(
    template_project: bytes, tool: dict[str, Any]
) -> None:
    theirs = "".join(project_file.tables(("tool",), tool))
    assert tomllib.loads(theirs) == {"tool": tool}
    said = tomllib.loads(project_file.join(template_project, theirs.encode(), ()).text)
    assert list(drift.unsaid(tomllib.loads(template_project.decode()), said, "")) == []
    for name in ("black", "a b"):
        assert said["tool"].get(name) == tool.get(name)


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        (b"[project\n", "no valid TOML"),
        (b"\xff", "no valid TOML"),
        (b"x = " + b"[" * 10_000, "no valid TOML"),
        (b"tool." + b".".join([b"a"] * 5_000) + b" = 1\n", "can't be joined"),
    ],
)
def test_what_is_no_toml_is_told(template_project: bytes, theirs: bytes, says: str) -> None:
    with pytest.raises(project_file.NoProjectFile, match=says):
        project_file.join(template_project, theirs, ())
