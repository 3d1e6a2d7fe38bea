# mypy: ignore-errors
# It is checked where it runs: its neighbours are those of a rendered service.
"""The password of the mail server is exchanged while mails leave: each arrives, and arrives once.

It stops a mail that was refused in between from being lost, or sent by both servers. It runs in a service, into which
test_rotation_under_load.py copies it.
"""

from __future__ import annotations

import importlib
import secrets as random
import time
from collections import Counter
from threading import Thread
from typing import TYPE_CHECKING

from . import mail_server, mails
from .load_servers import Crowd, Servers, settle, tell
from .mail_server import Authority, MailServer
from .service import PACKAGE, SECRETS

if TYPE_CHECKING:
    from pathlib import Path

    from .running import Service

ROTATES: bool = importlib.import_module(f".backend_{SECRETS}", __package__).ROTATES
NAME, USER, HOST = "SMTP_PASSWORD", "relay", "127.0.0.1"
TIMES, MAILS = 2, 40
LONGEST = 20 * 60  # seconds until the last of them has to be there: five until all ask again, and the pauses between
HURRY = f"from {PACKAGE}.bastion.delivery import outbox; outbox.POLL_SECONDS = 0.1"  # seconds of everybody's clock


def test_each_mail_arrives_once_while_the_password_of_the_mail_server_is_exchanged(
    service: Service, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    with mail_server.running(context=authority.context(HOST)) as relay:
        relay.password = random.token_urlsafe(32)
        service.setting("BASTION_SMTP_URL", relay.url(USER, HOST))
        service.setting("BASTION_SMTP_CA", authority.file)
        service.setting(NAME, relay.password)
        settle(service)
        users = [service.user(f"mailed-{number}@example.com") for number in range(MAILS)]
        servers = Servers(service, tmp_path, more=HURRY)
        with Crowd(servers) as crowd:
            asking = Thread(target=lambda: [forget(service, servers, user.email) for user in users])
            asking.start()
            for _ in range(TIMES):
                time.sleep(1)
                new = random.token_urlsafe(32)
                exchange(service, servers, relay, new)
            asking.join(timeout=60)
            began = service.now()
            while mails.waiting(service):
                assert (service.now() - began).total_seconds() < LONGEST
                crowd.travels(30)
                time.sleep(0.3)
        crowd.check()
        arrived = Counter(relay.recipients)
        stopped = 0 if ROTATES else TIMES * len(servers.running)
        assert {user.email for user in users} - arrived.keys() == set()
        assert arrived.total() - len(arrived) <= stopped, (
            arrived
        )  # who is stopped in the middle of one may send it twice
        longest, twice = (service.now() - began).total_seconds(), arrived.total() - len(arrived)
        tell(
            NAME,
            f"{crowd.figures()}; {TIMES} exchanges; of {MAILS} mails lost: {MAILS - len(arrived)}, twice: {twice}; "
            f"{relay.refused} logins refused, the last mail {longest:.0f} s later",
        )


def forget(service: Service, servers: Servers, email: str) -> None:
    """Ask for a link by mail, ten a second."""
    number = int(email.partition("@")[0].rpartition("-")[2])
    client = servers.serve(service.client(address=f"198.51.100.{number + 1}"))
    assert client.forgot(email).status == client.DONE["forgot"]
    time.sleep(0.1)


def exchange(service: Service, servers: Servers, relay: MailServer, new: str) -> None:
    """Store it, and give it to the mail server directly afterwards."""
    if ROTATES:
        service.rotate(**{NAME: new})
        relay.password = new
    else:
        relay.password = new
        service.restart(**{NAME: new})
        servers.restart_in_turn()
