"""Updates need a listed source and a tag signed by a listed key, whatever the scanned repository claims.

Whoever can change one line of a pull request, move a tag or take over a server would else own every service. Source:
catalogue row update-source-pinned; ASVS 15.2.4.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flask_bastion import cli, trust, version
from flask_bastion.check import check
from flask_bastion.report import as_text
from flask_bastion.template import Template, TemplateError
from flask_bastion.trust import InvalidTrust, Refused, Signed, Source
from histories import ADDRESS, KEY, History, record, recorded
from signed import Key, Publisher, needs_ssh_keygen
from support import Repository, done, git, run

TODAY = datetime.now(UTC).date()
ENTRY = f'[[source]]\naddress = "{ADDRESS}"\nkeys = ["{KEY}"]\n'


# --- the list --------------------------------------------------------------------------------------------------------


def test_a_list_names_addresses_and_the_keys_that_count_for_each() -> None:
    text = f'{ENTRY}\n[[source]]\naddress = "git@git.example:team/fork.git"\nkeys = []\n'
    assert trust.parse(text.encode(), "list") == (
        Source(ADDRESS, (KEY,)),
        Source("git@git.example:team/fork.git", ()),
    )
    assert trust.parse(b"# nothing yet\n", "list") == ()


@pytest.mark.parametrize(
    "address",
    [
        "http://git.example/t.git",
        "git://git.example/t.git",
        "file:///srv/t.git",
        "/srv/t.git",
        "../t",
        "ext::sh -c touch% canary",
        "ssh://-oProxyCommand=touch/t.git",
        "-u@git.example:t.git",
        "git@-git.example:t.git",
        "git@git.example:-t.git",
        "--upload-pack=touch",
        "https://token@git.example/t.git",
        "https://user:token@git.example/t.git",
        "ssh://git:token@git.example/t.git",
        "https://git.example/t.git?token=x",
        "https://git.example/t.git#x",
        "https://git.example/../t.git",
        "https://git.example/a/../../t.git",
        "https://g\u0456t.example/t.git",
        "https://git.example/t\u200b.git",
        "https://git.example/t.git\n",
        "https://git.example/%2e%2e/t.git",
        "https://git.example",
        "",
    ],
)
def test_an_address_that_runs_hides_or_looks_like_another_is_in_no_list(address: str) -> None:
    assert trust.normal(address) is None
    entry = ENTRY.replace(f'"{ADDRESS}"', f'"{address}"'.replace("\n", "\\n"))
    with pytest.raises(InvalidTrust, match="list: source 1: address must be that of a server"):
        trust.parse(entry.encode(), "list")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://git.example/team/t", "https://GIT.example:443/team/t.git/"),
        ("gh:team/t", "https://github.com/team/t.git"),
        ("gl:team/t.git", "git+https://gitlab.com/team/t"),
        ("git@git.example:team/t.git", "ssh://git@git.example:22/team/t"),
    ],
)
def test_one_address_in_two_ways_of_writing_is_one(one: str, other: str) -> None:
    assert trust.normal(one) is not None
    assert trust.normal(one) == trust.normal(other)


def test_other_servers_users_ports_ways_and_letters_are_others() -> None:
    addresses = [
        "https://git.example/team/t.git",
        "https://git.example:8443/team/t.git",
        "https://git.example.evil.example/team/t.git",
        "https://git.example/team/T.git",
        "https://git.example/team/t.git.git",
        "ssh://git.example/team/t.git",
        "ssh://git@git.example/team/t.git",
        "ssh://other@git.example/team/t.git",
    ]
    assert len({trust.normal(address) for address in addresses} - {None}) == len(addresses)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[", "this is no TOML"),
        ("\xff", "this is no TOML"),
        ("#" * (trust.LARGEST_BYTES + 1), "this is no TOML"),
        ('[source]\naddress = "x"', "source must be a list of tables"),
        ("source = [1]", "source must be a list of tables"),
        (ENTRY + '[[sources]]\naddress = "x"', "there is no 'sources'"),
        (ENTRY + 'branch = "main"', "it has no 'branch'"),
        ("[[source]]\nkeys = []", "address must be"),
        (ENTRY.replace("[" + f'"{KEY}"' + "]", f'"{KEY}"'), "keys must be a list"),
        (ENTRY.replace("ssh-ed25519", "ssh-dss"), "keys must be a list"),
        (ENTRY.replace("ssh-ed25519", 'cert-authority ssh-ed25519'), "keys must be a list"),
        (ENTRY.replace("platform\"", "plat\\nform\""), "keys must be a list"),
        (ENTRY + ENTRY.replace(".git\"", "\""), "is listed twice"),
    ],
)  # fmt: skip
def test_a_list_that_is_unclear_is_refused_as_a_whole(text: str, said: str) -> None:
    with pytest.raises(InvalidTrust) as raised:
        trust.parse(text.encode("latin-1"), "list")
    assert said in str(raised.value)
    assert all(line.startswith("list: ") for line in str(raised.value).splitlines())


def test_a_service_begins_with_the_address_and_the_keys_that_it_was_copied_from(history: History) -> None:
    number = version.parse("v1.0.0")
    assert number is not None
    release = history.template.release(number)
    for source, address in (
        (ADDRESS, ADDRESS),
        ("gh:team/flask-bastion", "https://github.com/team/flask-bastion.git"),
        ("git+https://git.example/t.git", "https://git.example/t.git"),
        ("https://bot:canary@git.example/t.git", "https://git.example/t.git"),
        ("ssh://git:canary@git.example/t.git", "ssh://git@git.example/t.git"),
        ("git@git.example:team/t.git", "git@git.example:team/t.git"),
        ("/srv/templates/flask-bastion", None),
        ('https://git.example/"]\n[x]', None),
        ("https://git.example/t.git?token=canary", None),
        ("ext::sh -c x", None),
        ("", None),
    ):
        text = release.render({}, whole=True, source=source)[trust.FILE]
        assert trust.parse(text, "list") == ((Source(address, (KEY,)),) if address else ()), source
        assert b"canary" not in text
    assert trust.FILE not in release.render({}), "created once: an update neither changes it nor brings it back"


def test_the_template_has_published_no_key_yet_and_says_so(tmp_path: Path) -> None:
    repository = Repository.make(tmp_path / "flask-bastion")
    repository.release("v1.0.0")
    number = version.parse("v1.0.0")
    assert number is not None
    text = Template(repository.path).release(number).render({}, whole=True, source=ADDRESS)[trust.FILE]
    assert trust.parse(text, "list") == (Source(ADDRESS, ()),)
    assert b"takes none until one is added" in text


# --- what check says -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "source", "kind", "level"),
    [
        (ENTRY, ADDRESS, None, None),
        (ENTRY, "git+" + ADDRESS.removesuffix(".git"), None, None),
        (None, ADDRESS, "trust-missing", "note"),
        ("", ADDRESS, "trust-missing", "note"),
        (ENTRY.replace(f'"{KEY}"', ""), ADDRESS, "trust-missing", "note"),
        (ENTRY, "https://evil.example/platform/flask-bastion.git", "source-untrusted", "error"),
        (ENTRY, "/srv/flask-bastion", "source-untrusted", "error"),
        (ENTRY.replace("keys", "kyes"), ADDRESS, "trust-invalid", "error"),
    ],
)
def test_check_says_where_updates_would_come_from(
    history: History, tmp_path: Path, listed: str | None, source: str, kind: str | None, level: str | None
) -> None:
    service = history.service(tmp_path, "v1.2.1")
    record(service, recorded(service) | {"_src_path": source})
    (service / trust.FILE).unlink()
    if listed is not None:
        (service / trust.FILE).write_text(listed, encoding="utf-8")
    findings = check(service, (), today=TODAY).findings
    assert [(finding.kind, finding.level) for finding in findings] == ([(kind, level)] if kind else [])


def test_check_holds_a_service_to_a_list_that_its_caller_names(history: History, tmp_path: Path) -> None:
    """The repository's own list is a stranger's file there."""
    service = history.service(tmp_path / "service", "v1.2.1")
    assert check(service, (), None, (Source(ADDRESS, (KEY,)),), today=TODAY).findings == ()
    (finding,) = check(service, (), None, (Source("gh:team/fork", (KEY,)),), today=TODAY).findings
    assert finding.kind == "source-untrusted"


def test_the_command_takes_such_a_list(history: History, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service = history.service(tmp_path / "service", "v1.2.1")
    platforms = tmp_path / "trust.toml"
    platforms.write_text(ENTRY.replace("platform/", "other/"), encoding="utf-8")
    assert cli.main(["check", str(service)]) == 0
    assert cli.main(["check", str(service), "--trust", str(platforms)]) == 1
    assert "not one of the trusted sources" in capsys.readouterr().out
    assert cli.main(["check", str(service), "--trust", str(tmp_path / "nowhere")]) == 2
    assert "Name a list of trusted sources." in capsys.readouterr().err


def test_a_list_that_hides_is_not_followed(history: History, tmp_path: Path) -> None:
    service = history.service(tmp_path / "service", "v1.2.1")
    (tmp_path / "other.toml").write_text(ENTRY, encoding="utf-8")
    (service / trust.FILE).unlink()
    (service / trust.FILE).symlink_to(tmp_path / "other.toml")
    assert {finding.kind for finding in check(service, (), today=TODAY).findings} == {"repository-link"}


def test_what_a_list_says_is_shown_as_text(history: History, tmp_path: Path) -> None:
    service = history.service(tmp_path, "v1.2.1")
    (service / trust.FILE).write_text('"\\u001b]0;x\\u202e::error::" = 1\n', encoding="utf-8")
    text = "\n".join(as_text(check(service, (), today=TODAY)))
    assert "there is no" in text
    assert not {"\x1b", "\u202e"} & set(text)


@pytest.mark.parametrize("lightweight", [True, False])
def test_a_tag_that_names_another_commit_than_it_did_is_an_error(tmp_path: Path, lightweight: bool) -> None:
    history = History.make(tmp_path / "flask-bastion")
    service = history.service(tmp_path / "service", "v1.2.1")
    assert check(service, (), Template(history.repository.path), today=TODAY).findings == ()
    before = git(history.repository.path, "rev-parse", "v1.2.1").strip()
    git(history.repository.path, "commit", "--quiet", "--allow-empty", "--message", "later")
    git(history.repository.path, "tag", "--force", *(() if lightweight else ("--annotate", "--message=x")), "v1.2.1")
    findings = check(service, (), Template(history.repository.path), today=TODAY).findings
    moved = next(finding for finding in findings if finding.kind == "tag-moved")
    assert moved.level == "error"
    assert before in moved.text


def test_a_version_that_was_only_written_down_is_no_moved_tag(history: History, tmp_path: Path) -> None:
    """Whoever is told to take no update from there would stay without the fixes; a moved tag is told all the same."""
    service = history.service(tmp_path / "service", "v1.0.1")
    record(service, recorded(service) | {"_commit": "v1.2.1"})
    kinds = {finding.kind for finding in check(service, (), history.template, today=TODAY).findings}
    assert "answers-contradict" in kinds
    assert "tag-moved" not in kinds
    moved = History.make(tmp_path / "flask-bastion")
    git(moved.repository.path, "tag", "--force", "v1.0.1", "v1.2.1")
    kinds = {finding.kind for finding in check(service, (), Template(moved.repository.path), today=TODAY).findings}
    assert "tag-moved" in kinds


# --- signatures ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Key, Key, Key]:
    needs_ssh_keygen()
    folder = tmp_path_factory.mktemp("keys")
    return Key.make(folder / "platform"), Key.make(folder / "second"), Key.make(folder / "stranger")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch", "main")
    git(path, "commit", "--quiet", "--allow-empty", "--message", "x")
    return path


def verified(repository: Path, *keys: Key, tag: str = "v1.0.0") -> Signed:
    number = version.parse(tag)
    assert number is not None
    return trust.verify_tag(Template(repository), number, [key.public for key in keys])


def test_a_tag_that_any_listed_key_signed_is_the_commit_that_it_names(
    repository: Path, keys: tuple[Key, Key, Key]
) -> None:
    for key in keys:
        key.sign(repository, "v1.0.0")
        signed = verified(repository, *keys)
        assert signed.commit == git(repository, "rev-parse", "HEAD").strip()
        assert abs((datetime.now(UTC) - signed.at).total_seconds()) < 600


def lightweight(repository: Path, *_: Key) -> None:
    git(repository, "tag", "v1.0.0")


def unsigned(repository: Path, *_: Key) -> None:
    git(repository, "tag", "--annotate", "--message", "x", "v1.0.0")


def by_a_stranger(repository: Path, _: Key, stranger: Key) -> None:
    stranger.sign(repository, "v1.0.0")


def under_another_name(repository: Path, key: Key, _: Key) -> None:
    """What was signed is v0.9.0, an old version with a hole in it."""
    key.sign(repository, "v0.9.0")
    git(repository, "update-ref", "refs/tags/v1.0.0", git(repository, "rev-parse", "refs/tags/v0.9.0").strip())


def made(repository: Path, body: str) -> None:
    name = done(subprocess_with(repository, body, "git", "hash-object", "-t", "tag", "-w", "--literally", "--stdin"))
    git(repository, "update-ref", "refs/tags/v1.0.0", name.strip())


def subprocess_with(cwd: Path, text: str, *command: str) -> subprocess.CompletedProcess[str]:
    path = cwd / ".git" / "body"
    path.write_text(text, encoding="utf-8")
    return run("sh", "-c", f'"$@" < {path}', "sh", *command, cwd=cwd)


def body_of(repository: Path, key: Key) -> str:
    key.sign(repository, "v1.0.0")
    return git(repository, "cat-file", "tag", "v1.0.0")


def on_another_commit(repository: Path, key: Key, _: Key) -> None:
    """The signature is that of the real tag, and the object was exchanged."""
    body, old = body_of(repository, key), git(repository, "rev-parse", "HEAD").strip()
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "evil")
    made(repository, body.replace(old, git(repository, "rev-parse", "HEAD").strip()))


def renamed_inside(repository: Path, key: Key, _: Key) -> None:
    key.sign(repository, "v0.9.0")
    made(repository, git(repository, "cat-file", "tag", "v0.9.0").replace("tag v0.9.0", "tag v1.0.0"))


def named_twice(repository: Path, key: Key, _: Key) -> None:
    key.sign(repository, "v0.9.0")
    body = git(repository, "cat-file", "tag", "v0.9.0")
    made(repository, body.replace("tag v0.9.0\n", "tag v1.0.0\ntag v0.9.0\n", 1))


def with_openpgp(repository: Path, *_: Key) -> None:
    commit = git(repository, "rev-parse", "HEAD").strip()
    made(
        repository,
        f"object {commit}\ntype commit\ntag v1.0.0\ntagger A <a@b.example> 1700000000 +0000\n\nv1.0.0\n"
        "-----BEGIN PGP SIGNATURE-----\n\niHUEABYKAB0\n-----END PGP SIGNATURE-----\n",
    )


def of_a_tag(repository: Path, key: Key, _: Key) -> None:
    """Of a tag that says no more than that somebody once signed something."""
    git(repository, "tag", "--annotate", "--message", "x", "v0.9.0")
    key.sign(repository, "v1.0.0", "v0.9.0")


def of_a_tree(repository: Path, key: Key, _: Key) -> None:
    key.sign(repository, "v1.0.0", "HEAD^{tree}")


def for_another_purpose(repository: Path, key: Key, _: Key) -> None:
    """A file that the same key signed with ssh-keygen, in another namespace."""
    commit = git(repository, "rev-parse", "HEAD").strip()
    payload = f"object {commit}\ntype commit\ntag v1.0.0\ntagger A <a@b.example> 1700000000 +0000\n\nv1.0.0\n"
    command = ("ssh-keygen", "-Y", "sign", "-q", "-n", "file", "-f", str(key.private))
    made(repository, payload + done(subprocess_with(repository, payload, *command)))


ATTACKS: dict[Callable[..., None], str] = {
    lightweight: "is only a name for a commit",
    unsigned: "is signed with no key",
    by_a_stranger: "is by none of the keys",
    under_another_name: "holds a signature for another one, 'v0.9.0'",
    on_another_commit: "is by none of the keys",
    renamed_inside: "is by none of the keys",
    named_twice: "is by none of the keys",
    with_openpgp: "with OpenPGP",
    of_a_tag: "names no commit",
    of_a_tree: "names no commit",
    for_another_purpose: "is by none of the keys",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_tag_without_the_right_signature_for_just_this_is_refused(
    repository: Path, keys: tuple[Key, Key, Key], attack: Callable[..., None]
) -> None:
    platform, second, stranger = keys
    platform.sign(repository, "v1.0.0")
    assert verified(repository, platform, second), "the legitimate way"
    git(repository, "tag", "--delete", "v1.0.0")
    attack(repository, platform, stranger)
    with pytest.raises(Refused) as raised:
        verified(repository, platform, second)
    assert ATTACKS[attack] in str(raised.value)


def test_no_configuration_of_the_machine_or_the_repository_decides_what_a_good_signature_is(
    repository: Path, keys: tuple[Key, Key, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, _, stranger = keys
    stranger.sign(repository, "v1.0.0")
    yes = tmp_path / "yes"
    canary = tmp_path / "canary"
    yes.write_text(f"#!/bin/sh\ntouch {canary}\necho 'Good \"git\" signature for template with ED25519 key x'\n")
    yes.chmod(0o755)
    allowed = tmp_path / "allowed"
    allowed.write_text(f"template {stranger.public}\n", encoding="ascii")
    for name, value in {"gpg.ssh.program": yes, "gpg.ssh.allowedSignersFile": allowed}.items():
        git(repository, "config", name, str(value))
    config = tmp_path / "gitconfig"
    config.write_text(f'[gpg "ssh"]\n\tprogram = {yes}\n\tallowedSignersFile = {allowed}\n', encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    with pytest.raises(Refused, match="is by none of the keys"):
        verified(repository, platform)
    assert not canary.exists()


def test_without_ssh_keygen_nothing_counts_as_signed(
    repository: Path, keys: tuple[Key, Key, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys[0].sign(repository, "v1.0.0")
    assert verified(repository, keys[0])
    only = tmp_path / "bin"
    only.mkdir()
    (only / "git").symlink_to(done(run("sh", "-c", "command -v git")).strip())
    monkeypatch.setenv("PATH", str(only))
    with pytest.raises(TemplateError, match="ssh-keygen is needed"):
        verified(repository, keys[0])


# --- the cache -------------------------------------------------------------------------------------------------------


def test_what_was_fetched_lies_where_nobody_else_writes(
    tmp_path: Path, keys: tuple[Key, Key, Key], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keys[0].sign(repository, "v1.0.0")
    git(repository, "branch", "secret-of-somebody")
    number = version.parse("v1.0.0")
    assert number is not None
    source, commit = Source(ADDRESS, (keys[0].public,)), git(repository, "rev-parse", "HEAD").strip()

    def fetch(name: str) -> trust.Fetched:
        return trust.fetch_template(source, number, commit, tmp_path / name, folder=repository)

    fetched = fetch("first")
    assert git(fetched.template.path, "for-each-ref", "--format=%(refname)").split() == ["refs/tags/v1.0.0"]
    folder = tmp_path / "cache" / "flask-bastion" / "templates"
    assert folder.stat().st_mode & 0o777 == 0o700
    (cached,) = folder.glob("*.git")
    assert git(cached, "for-each-ref", "--format=%(refname)").split() == ["refs/tags/v1.0.0"], "tags alone"
    folder.chmod(0o770)
    with pytest.raises(Refused, match="is not yours alone"):
        fetch("second")
    folder.chmod(0o700)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="is not yours alone"):
        fetch("third")


def test_a_publisher_renders_his_own_key_into_every_service(tmp_path: Path) -> None:
    publisher = Publisher.make(tmp_path / "publisher")
    publisher.release("v1.0.0")
    service = publisher.service(tmp_path / "service", "v1.0.0")
    (source,) = trust.parse((service / trust.FILE).read_bytes(), "list")
    assert source.keys == (publisher.key.public,)
