"""A team's product, laid over rendered services: the proofs stay green over what a team may honestly add or declare.

The product of each style lies in tests/teams/. Every exception is declared at one of its bounds.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta

from services import Service
from support import ROOT, Combination, done, run

BOUNDS = {
    "session-sqlite-vault": "least",
    "jwt-sqlite-files": "least",
    "session-sqlite-gcp": "most",
    "jwt-sqlite-aws": "most",
}
"""The services that carry a product, and the bound at which each declares every exception."""
TEAMS = ROOT / "tests" / "teams"
SOURCE = "src/my_service"
SECRETS = {"session": "GITHUB_WEBHOOK_SECRET", "jwt": "STRIPE_WEBHOOK_SECRET"}
"""What verifies the deliveries of each product's webhook."""
ROLES = """\
        "editor": frozenset({"notes.publish"}),
        "support": frozenset({"tickets.read_all"}),
"""
READS_BOUNDS = """import json
from my_service.bastion.settings import LIMIT_BOUNDS
print(json.dumps({name: {"least": least, "most": most} for name, (_, least, most) in LIMIT_BOUNDS.items()}))
"""


def lay(service: Service, combination: Combination) -> None:
    """Give the service its product, and commit it; nothing where BOUNDS names none."""
    bound = BOUNDS.get(combination.name)
    if bound is None:
        return
    shutil.copytree(TEAMS / combination.auth, service.path, dirs_exist_ok=True)
    app = service.read(f"{SOURCE}/app.py")
    features = (TEAMS / combination.auth / SOURCE).glob("*/__init__.py")
    added = sorted(file.parent.name for file in features)
    app = app.replace("from . import notes\n", f"from . import {', '.join(sorted([*added, 'notes']))}\n")
    registered = "".join(f"    app.register_blueprint({name}.blueprint)\n" for name in added)
    app = app.replace("    app.register_blueprint", f"{registered}    app.register_blueprint", 1)
    service.write(f"{SOURCE}/app.py", app)
    settings = service.read(f"{SOURCE}/settings.py")
    service.write(
        f"{SOURCE}/settings.py",
        settings.replace('"users.manage"}),\n', f'"users.manage"}}),\n{ROLES}')
        + f'    secrets: ClassVar[Mapping[str, str]] = {{"{SECRETS[combination.auth]}": "verifies deliveries"}}\n'
        + "\n    page_size: int = 20\n",
    )
    secret = f"instance/secrets/{SECRETS[combination.auth]}"
    service.write(secret, "5d0c1f7a9b3e48266e7c" * 3 + "a4b2")
    (service.path / secret).chmod(0o600)  # a backend of files refuses what others on the machine may read
    letter = service.read(f"{SOURCE}/bastion/delivery/bastion/letter.html")
    help_page = '<p><a href="https://www.example.com/help">Help</a></p>\n'
    service.write(
        f"{SOURCE}/templates/bastion/letter.html", letter.replace("{% for line", f"{help_page}{{% for line", 1)
    )
    service.write(f"{SOURCE}/exceptions.toml", declared(json.loads(service.python(READS_BOUNDS)), bound))
    done(run(service.path / ".venv" / "bin" / "my-service", "dev", "access", cwd=service.path))
    service.commit("Our product")


def declared(bounds: dict[str, dict[str, int]], bound: str) -> str:
    """Every limit at this bound, and origins of images, fonts and frames."""
    until = datetime.now(UTC).date() + timedelta(days=200)
    why = f'reason = "Our users need it"\nowner = "team@example.com"\nuntil = {until}\n'
    limits = [f"[limits.{name}]\nvalue = {values[bound]}\n{why}" for name, values in bounds.items()]
    names = ("image_origins", "font_origins", "frame_ancestors")
    return "\n".join([*limits, *(f'[[{name}]]\norigin = "https://images.example"\n{why}' for name in names)])
