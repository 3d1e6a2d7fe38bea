"""Proofs of secrets/: a secret that is not where this service keeps its secrets stops the start, and nothing steps in.

They stop a built-in key, or one that somebody left in another place, from signing in production.
"""

from __future__ import annotations

from pathlib import Path

from .harness import Edit, edit, harm, protects, works
from .running import Service
from .service import SECRETS

WHERE = {"env": "the environment (env)", "files": "files:"}
ELSEWHERE: dict[str, Edit] = {
    "env": edit(
        "secrets/env.py",
        "return Secrets(os.environ.get,",
        "return Secrets(lambda name: os.getenv(name) or Path(os.environ['CREDENTIALS_DIRECTORY'], name).read_text(),",
    ),
    "files": edit(
        "secrets/files.py",
        "        except (OSError, UnicodeDecodeError):\n            return None",
        "        except (OSError, UnicodeDecodeError):\n            return os.environ.get(name)",
    ),
}


@protects(
    "secret-missing-named-error",
    missing=edit("secrets/__init__.py", "raise SecretMissing(name, self.where)", 'return Secret("")'),
)
def test_no_required_secret_can_be_absent_and_none_of_the_others_is_shown(service: Service) -> None:
    names = required(service)
    works(service.start().app is not None, "all secrets are present")
    for name in names:
        tried = service.start(**{name: None})
        harm(tried.app is not None, f"it started without {name}")
        assert len(tried.reasons) == 1
        assert tried.reasons[0].startswith(f"SECRET {name!r} not found in {WHERE[SECRETS]}")
        assert tried.reasons[0].endswith(". Set it there.")
        assert shown(service, tried.text) == []


@protects(
    "secret-missing-named-error",
    blank=edit("secrets/__init__.py", "        if value is None or not value.strip():", "        if value is None:"),
)
def test_no_required_secret_can_be_empty_or_white_space(service: Service) -> None:
    names = required(service)
    works(service.start().app is not None, "all secrets are present")
    for name in names:
        for blank in ("", " ", "\t \n", "\n"):
            tried = service.start(**{name: blank})
            harm(tried.app is not None, f"it started with {name}={blank!r}")
            assert len(tried.reasons) == 1
            assert tried.reasons[0].startswith(f"SECRET {name!r} not found in {WHERE[SECRETS]}")


@protects("secret-missing-named-error", fallback=ELSEWHERE[SECRETS])
def test_a_secret_in_the_place_of_another_backend_is_not_used(service: Service, tmp_path: Path) -> None:
    names = required(service)
    good = dict(service.environment.secrets)
    # Both places hold everything: as long as nothing is missing, the other one changes nothing.
    if SECRETS == "files":
        service.environment.settings.update(good)
    else:
        for name in (*names, "BASTION_SECRET_KEY_FALLBACKS"):
            (tmp_path / name).write_text(good.get(name, ""), "utf-8")
        service.environment.settings["CREDENTIALS_DIRECTORY"] = str(tmp_path)  # where systemd puts them
    works(service.start().app is not None, "all secrets are where they belong")
    for name in names:
        tried = service.start(**{name: None})
        harm(tried.app is not None, f"{name} was taken from another place")
        assert len(tried.reasons) == 1
        assert tried.reasons[0].startswith(f"SECRET {name!r} not found in {WHERE[SECRETS]}")


def test_a_secret_at_run_time_is_missing_by_name_and_place(service: Service) -> None:
    secrets = service.module("secrets")
    with service.app.app_context():
        assert secrets.get("SECRET_KEY").reveal() == service.environment.secrets["SECRET_KEY"]
        with_no_value = secrets.SecretMissing("PAYMENT_TOKEN", service.module("state").state().secrets.where)
        assert service.module("state").state().secrets.find("PAYMENT_TOKEN") is None
    assert str(with_no_value).startswith(f"SECRET 'PAYMENT_TOKEN' not found in {WHERE[SECRETS]}")


def required(service: Service) -> list[str]:
    """The secrets without which this service does not start, first the one that nothing else looks at."""
    names = sorted(service.environment.secrets, key=lambda name: (name != "SECRET_KEY", name))
    assert len(names) >= 2
    assert "SECRET_KEY" in names
    return names


def shown(service: Service, text: str) -> list[str]:
    """The secrets whose value is in the text."""
    return [name for name, value in service.environment.secrets.items() if value in text]
