"""A service with users changes its style of authentication, and nobody loses an account or a note.

Both styles share one table of users, so a switch is an update, a port of the team's own endpoints, and no migration.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from services import Service
from support import Repository, done, run

ACCOUNT = {"identifier": "ada@example.com", "password": "correct horse battery staple 42"}

BEGIN = f"""
import json, re
from my_service.bastion.commands import dev as development
development.prepare("my_service")
from my_service.app import create_app
app = create_app()
account = {ACCOUNT!r}
site = app.test_client()
base = "http://localhost:8000"
"""

POPULATE = (
    BEGIN
    + """
from my_service.bastion.commands import migrations
from my_service.bastion.identity import users
with app.app_context():
    migrations.install(app).upgrade()
    users.create(account["identifier"], account["password"])

def token(page):
    return re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text).group(1)

def post(path, **fields):
    answer = site.post(path, base_url=base, headers={"Origin": base}, data=fields)
    assert answer.status_code in (302, 303), (path, answer.status_code, answer.text)

post("/login", csrf_token=token(site.get("/login", base_url=base)), **account)
form = site.get("/notes/new", base_url=base)
post("/notes/new", csrf_token=token(form), title="Kept", body="Written in a browser.")
print(json.dumps({"list": "Kept" in site.get("/notes", base_url=base).text}))
"""
)

READ = (
    BEGIN
    + """
login = site.post("/auth/login", base_url=base, json=account)
assert login.status_code == 200, (login.status_code, login.text)
bearer = {"Authorization": "Bearer " + login.json["access_token"]}
notes = site.get("/notes", base_url=base, headers=bearer)
assert notes.status_code == 200, (notes.status_code, notes.text)
print(json.dumps({"list": "Kept" in notes.text, "anonymous": site.get("/notes", base_url=base).status_code}))
"""
)


def last_line(output: str) -> dict[str, object]:
    found = json.loads(output.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def port_the_notes(service: Service, template: Repository, scratch: Path) -> None:
    """Do what the message after an update says: take the notes of a fresh copy with the new answer."""
    fresh = Service.start(template.path, scratch / "fresh", auth="jwt")
    shutil.rmtree(service.path / "src" / "my_service" / "notes")
    shutil.copytree(fresh.path / "src" / "my_service" / "notes", service.path / "src" / "my_service" / "notes")
    (service.path / "tests" / "test_notes_pages.py").unlink()
    shutil.copy2(fresh.path / "tests" / "test_notes_api.py", service.path / "tests")


def test_users_and_their_notes_survive_a_switch_from_sessions_to_tokens(
    template_repository: Repository, tmp_path: Path
) -> None:
    service = Service.start(template_repository.path, tmp_path / "service", auth="session")
    service.sync()
    service.commit("Lock")
    assert last_line(service.python(POPULATE, BASTION_ENV="development")) == {"list": True}

    done(service.update(":current:", auth="jwt"))
    assert service.conflicts() == []
    port_the_notes(service, template_repository, tmp_path)
    service.sync()
    assert last_line(service.python(READ, BASTION_ENV="development")) == {"list": True, "anonymous": 401}
    done(run(service.path / ".venv" / "bin" / "my-service", "dev", "access", cwd=service.path))

    result = service.pytest()
    assert result.returncode == 0, result.stdout[-4000:]
