"""E-mail: what a mailbox is sent, over a real mail server on loopback."""

import asyncio
import email
import email.policy
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from subscriptions.channels.email import Email, Server, mailbox
from subscriptions.channels.outcome import Message
from subscriptions.events import Subscriber
from tests.subscriptions.receiving import certified

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R010.1")]

BASE = "https://fhir.example/fhir"


class Mailbox:
    """A mail server that keeps what it is given, and answers as it is told to."""

    def __init__(self) -> None:
        self.letters: list[Envelope] = []
        self.sent_over_tls: list[bool] = []
        self.answer = "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.answer[0] == "2":
            self.letters.append(envelope)
            self.sent_over_tls.append(session.ssl is not None)
        return self.answer


@contextmanager
def mail_server(**options: Any) -> Iterator[tuple[Mailbox, Server]]:
    found = Mailbox()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(found, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield found, Server("127.0.0.1", port, "none", "record@imaging.example")
    finally:
        controller.stop()


@pytest.fixture
def box() -> Iterator[tuple[Mailbox, Server]]:
    with mail_server() as both:
        yield both


def a_subscriber(**members: Any) -> Subscriber:
    row = Subscriber(
        id="s1", version=1, status="active", type="Task", criteria="[]", channel="email",
        topic="https://isocentre.example/fhir/SubscriptionTopic/report-urgent",
        endpoint="mailto:duty@ward.example", headers=[], payload_type="text/plain",
        content="empty", heartbeat=None, timeout=5, max_count=100, principal_text="",
        organization="lead", events=1, delivered=0, attempts=0, due=None, lease_until=None,
        last_sent=None, last_error=None, started=1, since_log=1, since_xid=1, ending=None,
    )  # fmt: skip
    return row._replace(**members)


BUNDLE = Message(b'{"resourceType":"Bundle","secret":"9990000107"}', "text/plain", events=2)


@pytest.mark.standard("Subscriptions R5 Backport 1.1.0, Email")
async def test_a_person_reads_that_there_is_something_and_where_and_nothing_about_anybody(
    box: tuple[Mailbox, Server],
) -> None:
    found, server = box
    outcome = await Email(server, BASE).send(a_subscriber(), BUNDLE)

    assert outcome.verdict == "sent"
    (envelope,) = found.letters
    assert envelope.rcpt_tos == ["duty@ward.example"]
    letter = email.message_from_bytes(envelope.original_content or b"", policy=email.policy.default)
    assert letter["Subject"] == "Imaging record: report-urgent"
    assert letter.get_content_type() == "text/plain"
    assert "2 events" in letter.get_content()
    assert f"{BASE}/Subscription/s1" in letter.get_content()
    assert "9990000107" not in str(letter)


async def test_who_asks_for_it_is_sent_the_notification_attached(
    box: tuple[Mailbox, Server],
) -> None:
    found, server = box
    wanting = a_subscriber(payload_type="text/plain;attach=application/fhir+json")
    await Email(server, BASE).send(wanting, BUNDLE)

    letter = email.message_from_bytes(
        found.letters[0].original_content or b"", policy=email.policy.default
    )
    (attached,) = letter.iter_attachments()
    assert attached.get_content_type() == "application/fhir+json"
    assert attached.get_content() == BUNDLE.body


@pytest.mark.parametrize(
    ("answer", "verdict"), [("451 later", "later"), ("550 no such mailbox", "failed")]
)
async def test_what_a_mail_server_refuses_for_good_is_not_tried_again(
    box: tuple[Mailbox, Server], answer: str, verdict: str
) -> None:
    found, server = box
    found.answer = answer

    assert (await Email(server, BASE).send(a_subscriber(), BUNDLE)).verdict == verdict


@pytest.mark.standard("RFC 3207")
async def test_without_tls_nothing_is_sent_where_it_must_be(box: tuple[Mailbox, Server]) -> None:
    found, server = box
    outcome = await Email(server._replace(tls="starttls"), BASE).send(a_subscriber(), BUNDLE)

    assert outcome.verdict == "later"
    assert found.letters == []


@pytest.mark.standard("RFC 3207")
@pytest.mark.parametrize(("trusted", "verdict"), [(True, "sent"), (False, "later")])
async def test_over_starttls_a_letter_goes_to_who_shows_a_certificate_that_is_trusted(
    tmp_path: Path, trusted: bool, verdict: str
) -> None:
    serving, certificate = certified(tmp_path, "localhost")
    trust = ssl.create_default_context(cafile=str(certificate)) if trusted else None
    with mail_server(tls_context=serving, require_starttls=True) as (found, server):
        secure = server._replace(host="localhost", tls="starttls")
        outcome = await Email(secure, BASE, trust=trust).send(a_subscriber(), BUNDLE)

    assert outcome.verdict == verdict
    assert found.sent_over_tls == ([True] if trusted else [])


async def test_a_mail_server_that_is_silent_is_left_at_the_timeout() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        server = Server("127.0.0.1", port, "none", "record@imaging.example")
        outcome = await Email(server, BASE).send(a_subscriber(timeout=1), BUNDLE)
        await asyncio.sleep(0.05)

    assert (outcome.verdict, outcome.status) == ("later", 0)


async def test_without_a_mail_server_it_is_an_error_at_once() -> None:
    assert (await Email(None, BASE).send(a_subscriber(), BUNDLE)).verdict == "failed"


@pytest.mark.parametrize(
    "endpoint",
    [
        "mailto:a@b.example,c@d.example",
        "mailto:a@b.example?cc=c@d.example",
        "mailto:a@b.example%0d%0aBcc:c@d.example",
        "mailto:a@b.example\r\nBcc: c@d.example",
        "mailto:",
        "https://b.example",
    ],
)
def test_an_endpoint_names_one_mailbox_and_nothing_else(endpoint: str) -> None:
    assert mailbox(endpoint) is None
