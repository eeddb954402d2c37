"""The syslog feed: every row once at least, in order, whatever becomes of the receiver."""

import asyncio
import contextlib
import datetime
import os
import re
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fhir_server.access.principal import Principal
from fhir_server.access.scopes import EVERYTHING
from fhir_server.audit import ledger, syslog
from fhir_server.audit.ledger import Ledger
from fhir_server.audit.syslog import Receiver
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from resources.errors import Invalid
from tests.flows.installation import Installation

pytestmark = [pytest.mark.requirement("R014.1")]

HEADER = re.compile(
    rb"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z) (\S+) isocentre (\d+) IHE\+RFC-3881 - <\?xml"
)


class Repository:
    """A receiver of syslog over TCP or TLS that may be sent away and called back.

    `breaks_after`: messages after which it resets the connection, the first time.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.messages: list[bytes] = []
        self.breaks_after: int | None = None
        self.resets = 0
        self._context = context
        self._listener: socket.socket | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = listener.accept()
                with contextlib.suppress(OSError), line:
                    self._read(line)

    def _read(self, line: socket.socket) -> None:
        if self._context is not None:
            line = self._context.wrap_socket(line, server_side=True)
        count = 0
        with line, line.makefile("rb") as stream:
            while length := _length(stream.read):
                message = stream.read(length)
                if len(message) < length:  # RFC 6587: who broke off in it has not said it
                    return
                self.messages.append(message)
                count += 1
                if count == self.breaks_after:
                    self.breaks_after = None
                    self.resets += 1
                    linger = (1).to_bytes(4, "little") + bytes(4)
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return

    def ids(self) -> list[str]:
        """The ids of the events, in the order in which they came first."""
        return list(dict.fromkeys(event_id(message) for message in self.messages))


def _length(read: Callable[[int], bytes]) -> int:
    """RFC 6587 Section 3.4.1: MSG-LEN SP."""
    digits = b""
    while (octet := read(1)) not in (b"", b" "):
        digits += octet
    return int(digits or b"0")


def xml(message: bytes) -> ElementTree.Element:
    head = HEADER.match(message)
    assert head is not None, message[:200]
    return ElementTree.fromstring(message[head.end() - len(b"<?xml") :])


def event_id(message: bytes) -> str:
    (itself,) = xml(message).iterfind(
        "ParticipantObjectIdentification[@ParticipantObjectTypeCodeRole='13']"
    )
    return itself.attrib["ParticipantObjectID"].removeprefix("AuditEvent/")


@pytest.fixture
def repository() -> Iterator[Repository]:
    repository = Repository()
    repository.open()
    yield repository
    repository.close()


def receiver(repository: Repository, scheme: str = "tcp") -> Receiver:
    return Receiver(scheme, "localhost" if scheme == "tls" else "127.0.0.1", repository.port)


async def happened(database: Database, count: int, **more: str) -> list[str]:
    """Write rows; the ids of their events, in the order of the ledger."""
    who = Principal("PractitionerRole/r", "lead", "reporter", EVERYTHING, client="viewer")
    keeper = Ledger(database)
    for n in range(count):
        context = RequestContext(who, "read", origin="192.0.2.1")
        row = {"type": "Patient", "id": str(n), "patient": str(n), **more}
        await keeper.append(ledger.entry(context, version=3, **row))  # type: ignore[arg-type]
    rows = await database.run("select instant / 1000, n from audit order by log, xid, n")
    return [f"{at}-{n}" for at, n in rows]


@pytest.mark.anyio
@pytest.mark.standard("IHE ITI-20")
async def test_a_message_has_header_and_audit_message_of_the_standard(
    database: Database, repository: Repository
) -> None:
    (id,) = await happened(database, 1)

    assert await syslog.feed(database, receiver(repository)) == 1

    (message,) = repository.messages
    head = HEADER.match(message)
    assert head is not None
    assert head[1] == b"85"  # facility 10, severity 5
    root = xml(message)
    assert root.tag == "AuditMessage"
    event = root.find("EventIdentification")
    assert event is not None
    assert event.attrib["EventActionCode"] == "R"
    assert event.attrib["EventOutcomeIndicator"] == "0"
    assert event.attrib["EventDateTime"].endswith("Z")
    kinds = [(one.tag, one.attrib["csd-code"]) for one in event]
    assert kinds == [("EventID", "rest"), ("EventTypeCode", "read"), ("PurposeOfUse", "TREAT")]
    people = {
        one.attrib["UserID"]: one.attrib["UserIsRequestor"]
        for one in root.iter("ActiveParticipant")
    }
    assert people["PractitionerRole/r"] == "true"
    assert people["Organization/lead"] == "false"
    first = next(root.iter("ActiveParticipant"))
    assert first.attrib["NetworkAccessPointID"] == "192.0.2.1"
    assert first.attrib["NetworkAccessPointTypeCode"] == "2"
    assert root.find("AuditSourceIdentification") is not None
    objects = [
        (one.attrib["ParticipantObjectID"], one.attrib["ParticipantObjectTypeCode"])
        for one in root.iter("ParticipantObjectIdentification")
    ]
    assert objects[:2] == [("Patient/0", "1"), ("Patient/0/_history/3", "2")]
    assert event_id(message) == id
    tags = [one.tag for one in root]
    assert tags == sorted(
        tags,
        key=["EventIdentification", "ActiveParticipant", "AuditSourceIdentification",
             "ParticipantObjectIdentification"].index,
    )  # fmt: skip


@pytest.mark.anyio
async def test_what_xml_cannot_say_and_markup_do_not_spoil_a_message(
    database: Database, repository: Repository
) -> None:
    await happened(database, 1, query="a=<b>&\x01\ud7ff", detail='"<x/>\x0b')

    await syslog.feed(database, receiver(repository))

    assert xml(repository.messages[0]).findtext(".//EventOutcomeDescription") == '"<x/>'


@pytest.mark.anyio
@pytest.mark.standard("RFC 6587 3.4.1")
async def test_every_row_comes_once_and_in_order_and_no_more_than_the_new_ones(
    database: Database, repository: Repository
) -> None:
    ids = await happened(database, 7)
    assert await syslog.feed(database, receiver(repository)) == 7
    ids = await happened(database, 3)
    assert await syslog.feed(database, receiver(repository)) == 3
    assert await syslog.feed(database, receiver(repository)) == 0

    assert [event_id(message) for message in repository.messages] == ids


@pytest.mark.anyio
async def test_a_receiver_that_goes_away_in_the_middle_is_told_again_what_it_did_not_keep(
    database: Database, repository: Repository
) -> None:
    ids = await happened(database, 40)
    repository.breaks_after = 5

    with pytest.raises(OSError, match=r"."):
        await syslog.feed(database, receiver(repository))
    assert repository.ids() == ids[:5]
    repository.close()
    with pytest.raises(OSError, match=r"."):
        await syslog.feed(database, receiver(repository))
    ids = await happened(database, 2)
    repository.open()
    await syslog.feed(database, receiver(repository))

    assert repository.resets == 1
    assert repository.ids() == ids
    assert [event_id(message) for message in repository.messages[5:]] == ids


@pytest.mark.anyio
async def test_the_feed_goes_on_by_itself_when_the_receiver_is_back(
    database: Database, repository: Repository
) -> None:
    repository.close()
    following = asyncio.create_task(syslog.follow(database, receiver(repository)))
    ids = await happened(database, 5)
    await asyncio.sleep(0.2)
    assert repository.messages == []

    repository.open()
    for _ in range(100):
        if repository.ids() == ids:
            break
        await asyncio.sleep(0.1)
    following.cancel()

    assert repository.ids() == ids


@pytest.mark.anyio
async def test_a_feed_that_is_killed_before_its_cursor_moved_sends_again(
    database: Database, repository: Repository
) -> None:
    ids = await happened(database, 3)
    feeding = asyncio.create_task(syslog.feed(database, receiver(repository)))
    while not repository.messages:
        await asyncio.sleep(0.001)
    feeding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await feeding

    await syslog.feed(database, receiver(repository))

    assert repository.ids() == ids


@pytest.mark.anyio
async def test_a_row_of_an_open_transaction_is_sent_after_it_and_none_is_passed_over(
    database: Database, repository: Repository
) -> None:
    insert = (
        "insert into audit(instant, interaction, outcome, subject, role, origin, request)"
        " values (0, 'read', 0, 's', 'r', 'o', 'q')"
    )
    async with database.transaction() as transaction:
        await transaction.run(insert)
        await database.run(insert)
        assert await syslog.feed(database, receiver(repository)) == 0

    assert await syslog.feed(database, receiver(repository)) == 2


@pytest.mark.anyio
async def test_two_workers_do_not_send_the_same_rows(
    database: Database, repository: Repository
) -> None:
    ids = await happened(database, 30)

    counts = await asyncio.gather(*(syslog.feed(database, receiver(repository)) for _ in range(3)))

    assert sorted(counts)[-1] == 30
    assert [event_id(message) for message in repository.messages] == ids


@pytest.mark.anyio
@pytest.mark.standard("RFC 5426")
async def test_datagrams_carry_one_message_each(database: Database) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        ids = await happened(database, 3)
        port = int(listener.getsockname()[1])

        await syslog.feed(database, Receiver("udp", "127.0.0.1", port))

        assert [event_id(listener.recv(65536)) for _ in ids] == ids


@pytest.mark.anyio
async def test_a_message_that_is_too_long_for_a_datagram_holds_up_no_other(
    database: Database,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        await happened(database, 1, query="x" * 70_000)
        *_, last = await happened(database, 1)

        await syslog.feed(database, Receiver("udp", "127.0.0.1", listener.getsockname()[1]))

        assert event_id(listener.recv(65536)) == last


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PEM file with the key of localhost and its certificate, which signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(
        key.private_bytes(pem, pkcs8, serialization.NoEncryption()) + signed.public_bytes(pem)
    )
    return str(path)


@pytest.mark.anyio
@pytest.mark.standard("RFC 5425")
async def test_over_tls_the_receiver_must_be_who_it_says(
    database: Database, certificate: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    repository = Repository(context)
    repository.open()
    ids = await happened(database, 4)

    with pytest.raises(OSError, match=r"certificate"):
        await syslog.feed(database, receiver(repository, "tls"))
    assert repository.messages == []
    assert await syslog.feed(database, receiver(repository, "tls"), certificate) == 4
    repository.close()

    assert [event_id(message) for message in repository.messages] == ids


def test_a_receiver_that_keeps_the_line_open_has_been_told() -> None:
    taken: list[bytes] = []

    def keep(listener: socket.socket) -> None:
        line, _ = listener.accept()
        while len(b"".join(taken)) < 7:
            taken.append(line.recv(100))
        time.sleep(1)
        line.close()

    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.MonkeyPatch.context() as patch:
        patch.setattr(syslog, "TIMEOUT_SECONDS", 0.3)
        thread = threading.Thread(target=keep, args=(listener,))
        thread.start()
        syslog.send(Receiver("tcp", "127.0.0.1", listener.getsockname()[1]), [b"hello"])
        thread.join()

    assert b"".join(taken) == b"5 hello"


@pytest.mark.parametrize(
    "url", ["", "http://x", "tcp://", "tcp://x:0", "tcp://x:99999", "tls://u@x", "udp://x/path"]
)
def test_what_is_no_receiver_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        Receiver.read(url)


@pytest.mark.slow
def test_a_server_sends_what_happens_to_the_receiver_that_its_setting_names(
    repository: Repository, tmp_path: Path
) -> None:
    setting = {"ISOCENTRE_SYSLOG": f"tcp://127.0.0.1:{repository.port}"}
    installation = Installation(tmp_path, "--http-workers", "1", settings=setting)
    try:
        installation.start()
        assert httpx.get(f"{installation.base}/Patient/nobody").status_code == 401
        deadline = time.monotonic() + 20
        while not any(b'csd-code="read"' in message for message in repository.messages):
            assert time.monotonic() < deadline, installation.log()[-2000:]
            time.sleep(0.1)
    finally:
        installation.stop()


MANY = """
insert into audit(instant, interaction, outcome, subject, role, origin, request)
select (extract(epoch from now()) * 1000)::bigint * 1000, 'read', 0, 'Client/x', 'application',
  '', n::text
from generate_series(1, {rows}) as n
"""


@pytest.mark.slow
def test_a_worker_that_is_killed_again_and_again_loses_nothing_and_keeps_the_order(
    repository: Repository, tmp_path: Path
) -> None:
    """What is sent twice says so by the id of its event, and by saying the same."""
    setting = {"ISOCENTRE_SYSLOG": f"tcp://127.0.0.1:{repository.port}"}
    installation = Installation(tmp_path, "--http-workers", "1", settings=setting)

    def waits(until: Callable[[], bool], pause: float = 0.005) -> None:
        deadline = time.monotonic() + 120
        while not until():
            assert time.monotonic() < deadline, installation.log()[-2000:]
            time.sleep(pause)

    def in_order() -> list[str]:
        rows = installation.sql("select instant / 1000, n from audit order by log, xid, n")
        return [f"{at}-{n}" for at, n in rows]

    try:
        installation.start()
        for _ in range(4):
            waits(lambda: "worker 0" in installation.roles())
            worker, heard = installation.roles()["worker 0"], len(repository.messages)
            installation.sql(MANY.format(rows=1500))
            assert httpx.get(f"{installation.base}/Patient/nobody").status_code == 401
            waits(lambda heard=heard: len(repository.messages) > heard + 20)  # type: ignore[misc]
            os.kill(worker, signal.SIGKILL)
            waits(lambda worker=worker: installation.roles().get("worker 0") not in (worker, None))  # type: ignore[misc]
        waits(lambda: len(repository.messages) >= 6000)
        ids = in_order()
        waits(lambda: set(ids) <= set(repository.ids()), 1)
    finally:
        installation.stop()

    then = set(ids)
    assert [one for one in repository.ids() if one in then] == ids
    said: dict[str, bytes] = {}
    for message in repository.messages:
        text = message.partition(b"<?xml")[2]
        assert said.setdefault(event_id(message), text) == text
