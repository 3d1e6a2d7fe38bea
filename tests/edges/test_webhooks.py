"""Edges of the proofs in test_webhooks.py: each scheme, keys in rotation, and starts that a webhook refuses."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from ..harness import at_once, edit, harm, protects, refused, works
from ..test_webhooks import BODY, LIMIT, NAME, PATH, REPLAY, ROW, STANDARD, adds_webhook, sends
from ..webhooks import UNSIGNED, signed

if TYPE_CHECKING:
    from ..running import Service


MODULE = "request/webhooks.py"
SCHEMES = ("github", "stripe", STANDARD)


def moment(service: Service) -> int:
    """The service's time, which stands still from here on."""
    service.stop_time()
    return int(service.now().timestamp())


# --- webhook-signature-required ----------------------------------------------------------------------------------


@protects(ROW, whole=edit(MODULE, "same(one, sent) for one", "same(one[: len(sent)], sent) for one"))
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_part_of_a_signature_is_none(service: Service, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    key = secrets.token_hex(32)
    seen, now = adds_webhook(service, monkeypatch, scheme, key), moment(service)
    works(sends(service, signed(scheme, key, b"{}", now)).status == 403, "the signature of another body is refused")
    works(sends(service, signed(scheme, key, BODY, now)).status == 200, "a signed delivery is accepted")
    seen.clear()
    [(header, text)] = [one for one in signed(scheme, key, BODY, now - 1).items() if one[0] in UNSIGNED]
    whole = signed(scheme, key, BODY + b" ", now)
    cut = [{**whole, header: whole[header][:-length]} for length in (1, 20)]
    for headers in (*cut, {**whole, header: text.replace("v1", "v0").replace("sha256", "sha1")}):
        answer = sends(service, headers, BODY + b" ")
        harm(seen, "a part of a signature was accepted")
        refused(answer, 403, ROW)


@protects(ROW, border=edit(MODULE, ' if name and "." not in name else None', " if name else None"))
def test_no_sender_moves_the_border_between_id_and_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A former delivery whose body begins with digits and a dot reads as a new one with another id and time."""
    key = secrets.token_hex(32)
    seen, now = adds_webhook(service, monkeypatch, STANDARD, key), moment(service)
    works(sends(service, signed(STANDARD, key, BODY, now)).status == 200, "a signed delivery is accepted")
    seen.clear()
    old = signed(STANDARD, key, b"%d.%s" % (now, BODY), now - 10_000)
    moved = {**old, "webhook-id": f"{old['webhook-id']}.{old['webhook-timestamp']}", "webhook-timestamp": str(now)}
    answer = sends(service, moved)
    harm(seen, "an old delivery was accepted under another id and time")
    refused(answer, 403, ROW)


@protects(ROW, session=edit("request/authentication.py", "not in PASSIVE and not is_signed():", "not in PASSIVE:"))
def test_a_webhook_runs_for_no_user(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    users: list[bool] = []
    current_user = service.module().current_user

    def view() -> dict[str, str]:
        users.append(current_user.is_authenticated)
        return {}

    adds_webhook(service, monkeypatch, view=view)
    visitor, user = service.client(), service.client(service.user()).login()
    works(
        visitor.post(PATH, json={}, headers={"Origin": "https://evil.example"}).status == 200,
        "the origin is not asked for",
    )
    works(user.post(PATH, json={}).status == 200, "a cookie or token beside the signature does no harm")
    harm(True in users, "a webhook ran as the user of a session")
    refused(user.post(PATH, json={}, headers=UNSIGNED), 403, ROW)


@protects(ROW, former=edit(MODULE, ".reveal().split()\n        made", ".reveal().split()[:1]\n        made"))
@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_keys_of_a_rotation_count(service: Service, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    new, former, other = (secrets.token_hex(32) for _ in range(3))
    now = moment(service)
    adds_webhook(service, monkeypatch, scheme, new, former)
    works(sends(service, signed(scheme, new, BODY, now)).status == 200, "the new key is accepted")
    answer = sends(service, signed(scheme, former, BODY + b" ", now), BODY + b" ")
    harm(answer.status != 200, "the former key was refused during the rotation")
    refused(sends(service, signed(scheme, other, BODY, now)), 403, ROW)


DECLARED = edit(MODULE, "            if name not in declared:\n", "            if False:\n")


@protects(ROW, declared=DECLARED)
def test_an_undeclared_secret_stops_the_start(service: Service) -> None:
    bastion = service.module()
    works(service.start().app is not None, "the service starts without this webhook")
    service.adds_route(PATH, methods=("POST",), mark=bastion.webhook(bastion.github(NAME)))
    start = service.start()
    harm(
        not any(NAME in reason and "not declared" in reason for reason in start.reasons),
        "an undeclared secret was not named",
    )
    assert len(start.reasons) == 1


@protects(
    ROW,
    guessable=edit(MODULE, "            for fault in filter(None, (", "            for fault in filter(bool, () and ("),
)
@pytest.mark.parametrize(
    ("scheme", "key"),
    [
        ("github", "correct-horse-battery-staple"),
        ("stripe", "whsec_short"),
        (STANDARD, "whsec_c2hvcnQ="),
        (STANDARD, "?" * 40),
    ],
)
def test_a_guessable_key_stops_the_start(
    service: Service, monkeypatch: pytest.MonkeyPatch, scheme: str, key: str
) -> None:
    works(service.start().app is not None, "the service starts without this webhook")
    adds_webhook(service, monkeypatch, scheme, secrets.token_hex(32), key)
    start = service.start()
    harm(start.app, "the service started with a key that can be guessed")
    assert [NAME in reason for reason in start.reasons] == [True]
    assert key not in start.text


@protects(ROW, methods=edit(MODULE, '- AUTOMATIC != {"POST"}:', '- AUTOMATIC == {"BREW"}:'))
def test_a_webhook_that_answers_get_stops_the_start(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    works(service.start().app is not None, "the service starts without this webhook")
    adds_webhook(service, monkeypatch, methods=("GET", "POST"))
    start = service.start()
    harm(start.app, "the service started with a webhook that answers GET")
    assert ["POST" in reason for reason in start.reasons] == [True]


# --- webhook-replay-refused --------------------------------------------------------------------------------------


@protects(REPLAY, ahead=edit(MODULE, "abs(seconds() - delivery.at) > TOLERANCE", "seconds() - delivery.at > TOLERANCE"))
@protects(REPLAY, remembered=edit(MODULE, "else 2 * TOLERANCE)", "else TOLERANCE)"))
@pytest.mark.parametrize("scheme", ["stripe", STANDARD])
def test_a_signed_time_is_bounded(service: Service, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    key = secrets.token_hex(32)
    seen, now = adds_webhook(service, monkeypatch, scheme, key), moment(service)
    ahead = signed(scheme, key, BODY, now + 299)
    for headers in (ahead, signed(scheme, key, BODY, now - 299)):
        works(sends(service, headers).status == 200, "a delivery within 300 s is accepted")
    seen.clear()
    answers = [sends(service, signed(scheme, key, BODY, now + off)) for off in (-302, 302)]
    service.travel(seconds=400)
    answers.append(sends(service, ahead))
    harm(seen, "a delivery from outside of the tolerance, or a repeated one, ran")
    for answer in answers:
        refused(answer, 403, REPLAY)


@protects(REPLAY, undated=edit(MODULE, "UNDATED if delivery.at is None", "TOLERANCE if delivery.at is None"))
def test_a_delivery_without_a_time_is_remembered_for_a_day(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    key = secrets.token_hex(32)
    seen = adds_webhook(service, monkeypatch, "github", key)
    headers = signed("github", key, BODY, 0)
    works(sends(service, headers).status == 200, "a delivery is accepted")
    seen.clear()
    service.travel(hours=23)
    answer = sends(service, {**headers, "X-GitHub-Delivery": secrets.token_hex(16)})
    harm(seen, "a delivery ran again under another id, which is not signed")
    refused(answer, 403, REPLAY)


@protects(REPLAY, again=edit(MODULE, "    if spent is None:\n", "    if False:\n"))
def test_of_equal_deliveries_at_once_one_runs(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    key = secrets.token_hex(32)
    seen, now = adds_webhook(service, monkeypatch, STANDARD, key), moment(service)
    works(sends(service, signed(STANDARD, key, BODY, now)).status == 200, "a delivery is accepted")
    seen.clear()
    headers = signed(STANDARD, key, BODY, now)
    answers = at_once([lambda: sends(service, headers).status] * 8)
    harm(len(seen) > 1, "two equal deliveries ran at once")
    assert sorted(answers) == [200, *[403] * 7]


@protects(REPLAY, failed=edit(MODULE, "response.status_code >= 400 and", "response.status_code >= 600 and"))
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_failed_delivery_may_be_repeated(service: Service, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    key = secrets.token_hex(32)
    works_now: list[bool] = []

    def view() -> dict[str, str]:
        if not works_now:
            raise RuntimeError("the partner's database is away")
        return {}

    adds_webhook(service, monkeypatch, scheme, key, view=view)
    headers = signed(scheme, key, BODY, moment(service))
    works(sends(service, headers).status == 500, "the view fails")
    works_now.append(True)
    answer = sends(service, headers)
    harm(answer.status != 200, "the sender could not repeat a delivery that failed")
    refused(sends(service, headers), 403, REPLAY)


# --- webhook-throttle --------------------------------------------------------------------------------------------

VERIFIED = "    if delivery is None or not verifier.verifies(delivery):\n"
COUNTS_ALL = edit(MODULE, VERIFIED, VERIFIED.replace("if ", 'if ceiling.hit("") is not None or '))


@protects(LIMIT, forged=COUNTS_ALL)
def test_forged_deliveries_do_not_lock_the_sender_out(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    adds_webhook(service, monkeypatch, most=3)
    sender = service.client()
    works(sender.post(PATH, json={"n": 1}).status == 200, "a signed delivery is accepted")
    for _ in range(5):
        refused(sender.post(PATH, json={}, headers=UNSIGNED), 403, ROW)
    answer = sender.post(PATH, json={"n": 2})
    harm(answer.status != 200, "forged deliveries used up the sender's limit")
    assert answer.status == 200


@protects(
    LIMIT, replayed=edit(MODULE, "    spent, _ = throttle.take(", '    ceiling.hit("")\n    spent, _ = throttle.take(')
)
def test_repeated_deliveries_do_not_lock_the_sender_out(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    key = secrets.token_hex(32)
    adds_webhook(service, monkeypatch, "github", key, most=3)
    recorded = signed("github", key, BODY, moment(service))
    works(sends(service, recorded).status == 200, "a signed delivery is accepted")
    for _ in range(5):
        refused(sends(service, recorded), 403, REPLAY)
    answer = service.client().post(PATH, json={"n": 2})
    harm(answer.status != 200, "repeated deliveries used up the sender's limit")
    assert answer.status == 200
