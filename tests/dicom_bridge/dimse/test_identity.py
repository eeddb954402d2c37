"""User identity negotiation: in whose name a peer asks."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.presentation import build_context

from dicom_bridge.dimse import reactor
from dicom_bridge.dimse.identity import Person
from fhir_server.access.principal import Principal
from fhir_server.access.scopes import parse
from fhir_server.access.token import Keys, TokenChecker, mint
from fhir_server.access.withdrawn import Withdrawn
from fhir_server.identities import Identities
from smart_apps import users
from smart_apps.authorization.signing_in import SignInDesk
from tests.dicom_bridge.build import an_instance
from tests.dicom_bridge.conftest import Archive, found
from tests.dicom_bridge.dimse.test_find import hold, identifier

pytestmark = pytest.mark.anyio

URL = "http://127.0.0.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
USERNAME, PASSCODE, KERBEROS, SAML, JWT = 1, 2, 3, 4, 5
PASSWORD = "kettle harbour umbrella"
BY_ACSE = 2
"""PS3.8 Table 9-21: source "DICOM UL service-provider (ACSE related function)"."""


class Clients:
    """Requests associations in somebody's name."""

    def __init__(self, archive: Archive, keys: Keys, withdrawn: Withdrawn) -> None:
        self.archive, self.keys, self.withdrawn = archive, keys, withdrawn

    def token(self, organization: str = "lead", lifetime: int = 300, **more: Any) -> bytes:
        return mint(
            more.pop("keys", self.keys), URL, subject="PractitionerRole/rad", client="viewer",
            scope="user/*.rs", organization=organization, role="reporter", lifetime=lifetime,
            **more,
        ).encode()  # fmt: skip

    async def associate(
        self, kind: int, primary: bytes, secondary: bytes = b"", answer: bool = False
    ) -> Association:
        item = UserIdentityNegotiation()
        item.user_identity_type, item.positive_response_requested = kind, answer
        item.primary_field, item.secondary_field = primary, secondary
        ae = reactor.ApplicationEntity("CT1")
        ae.acse_timeout = ae.dimse_timeout = 20
        made: Association = await self.archive.call(
            ae.associate, "127.0.0.1", self.archive.port, [build_context(FIND)],
            ae_title="ISOCENTRE", ext_neg=[item],
        )  # fmt: skip
        return made

    async def studies(self, association: Association) -> int:
        keys = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="")
        answers = await self.archive.call(lambda: list(association.send_c_find(keys, FIND)))
        return sum(status.Status == 0xFF00 for status, _ in answers if "Status" in status)


@pytest.fixture
async def clients(archive: Archive, tmp_path: Path) -> Clients:
    """A port that knows one login, `r.rad`, who reports for the organisation `lead`."""
    database, withdrawn = archive.bridge.database, Withdrawn()
    keys = Keys.load(tmp_path)
    user = users.made("r.rad", PASSWORD, {"id": "rad", "organization": {
        "reference": "Organization/lead"}}, "reporter")  # fmt: skip
    await users.add(database, user)
    desk = SignInDesk(database, archive.bridge.ledger)
    checker = TokenChecker(keys, URL, withdrawn)
    archive.bridge.identify = Identities(desk, checker, withdrawn).identify
    return Clients(archive, keys, withdrawn)


@pytest.mark.standard("PS3.7 D.3.3.7")
async def test_a_person_asks_with_an_access_token_of_ours_and_stands_in_the_audit(
    clients: Clients,
) -> None:
    await hold(clients.archive.bridge, an_instance())

    association = await clients.associate(JWT, clients.token())

    assert await clients.studies(association) == 1
    await clients.archive.call(association.release)
    events = await found(clients.archive.bridge, "AuditEvent", agent="PractitionerRole/rad")
    assert events


async def test_a_person_asks_with_login_and_passcode(clients: Clients) -> None:
    await hold(clients.archive.bridge, an_instance())

    association = await clients.associate(PASSCODE, b"r.rad", PASSWORD.encode())

    assert await clients.studies(association) == 1
    await clients.archive.call(association.release)


async def test_who_proves_nothing_is_rejected(clients: Clients, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    wrong = [
        (PASSCODE, b"r.rad", b"wrong"),
        (PASSCODE, b"nobody", PASSWORD.encode()),
        (PASSCODE, b"\xff\xfe", b"\xff"),
        (PASSCODE, b"", clients.token()),
        (JWT, b"", b""),
        (JWT, b"not a token", b""),
        (JWT, b"\xff\xfe", b""),
        (JWT, clients.token(lifetime=-10), b""),
        (JWT, clients.token(keys=Keys.load(other)), b""),
        (JWT, clients.token(organization="other"), b""),
    ]
    for claimed in wrong:
        association = await clients.associate(*claimed)
        assert association.is_rejected
        assert association.acceptor.primitive is not None
        assert association.acceptor.primitive.result_source == BY_ACSE
    rejected = await found(clients.archive.bridge, "AuditEvent", outcome="4")
    assert len(rejected) >= len(wrong)


@pytest.mark.standard("threats T22")
async def test_passcodes_are_not_tried_for_ever(clients: Clients) -> None:
    for _ in range(10):
        association = await clients.associate(PASSCODE, b"r.rad", b"wrong")
        assert association.is_rejected

    right = await clients.associate(PASSCODE, b"r.rad", PASSWORD.encode())

    assert right.is_rejected


@pytest.mark.standard("PS3.7 D.3.3.7")
@pytest.mark.parametrize("kind", [USERNAME, KERBEROS, SAML])
async def test_what_is_not_supported_is_accepted_without_a_positive_response(
    clients: Clients, kind: int
) -> None:
    association = await clients.associate(kind, b"r.rad", answer=True)

    assert association.is_established
    assert association.acceptor.user_identity is None
    await clients.archive.call(association.release)


@pytest.mark.standard("PS3.7 D.3.3.7")
@pytest.mark.parametrize("answer", [True, False])
async def test_a_positive_response_is_made_if_it_is_asked_for(
    clients: Clients, answer: bool
) -> None:
    association = await clients.associate(JWT, clients.token(), answer=answer)

    assert association.is_established
    assert (association.acceptor.user_identity is not None) is answer
    await clients.archive.call(association.release)


async def test_a_token_that_is_withdrawn_ends_the_association_at_its_next_request(
    clients: Clients,
) -> None:
    await hold(clients.archive.bridge, an_instance())
    association = await clients.associate(JWT, clients.token(authorized="grant"))
    assert await clients.studies(association) == 1

    clients.withdrawn._ids.add("grant")

    assert await clients.studies(association) == 0
    async with asyncio.timeout(60):  # its own thread says so, when it comes to it
        while not association.is_aborted:
            await asyncio.sleep(0.01)


class Ending:
    """A proof of who asks that ends while a request is under way."""

    def __init__(self) -> None:
        self.asked: int | None = None

    def is_withdrawn(self, *_: str) -> bool:
        """Say no when the request is served, and yes when its work begins."""
        if self.asked is None:
            return False
        self.asked += 1
        return self.asked > 1


MPPS = "1.2.840.10008.3.1.2.3.3"
UPS_PUSH, UPS_PULL = "1.2.840.10008.5.1.4.34.6.1", "1.2.840.10008.5.1.4.34.6.3"
GP_STEP, GP_PERFORMED = "1.2.840.10008.5.1.4.32.2", "1.2.840.10008.5.1.4.32.3"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
COMMITMENT, COMMITTED = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
REQUESTS: list[tuple[str, str, tuple[Any, ...]]] = [
    (MPPS, "send_n_create", (MPPS, "1.2.9.1")),
    (MPPS, "send_n_set", (MPPS, "1.2.9.1")),
    (UPS_PUSH, "send_n_create", (UPS_PUSH, "1.2.9.1")),
    (UPS_PULL, "send_n_action", (1, UPS_PULL, "1.2.9.1")),
    (UPS_PULL, "send_n_set", (UPS_PULL, "1.2.9.1")),
    (GP_STEP, "send_n_action", (1, GP_STEP, "1.2.9.1")),
    (GP_PERFORMED, "send_n_create", (GP_PERFORMED, "1.2.9.1")),
    (GP_PERFORMED, "send_n_set", (GP_PERFORMED, "1.2.9.1")),
    (COMMITMENT, "send_n_action", (1, COMMITMENT, COMMITTED)),
    (FIND, "send_c_find", (FIND,)),
    (GET, "send_c_get", (GET,)),
]
"""SOP class, message, and what is said beside the data set."""


@pytest.mark.standard("PS3.7 C.5.10")
@pytest.mark.parametrize(("sop_class", "message", "said"), REQUESTS)
async def test_whose_proof_ends_under_way_is_told_that_they_are_not_authorised(
    archive: Archive, sop_class: str, message: str, said: tuple[Any, ...]
) -> None:
    ending = Ending()

    async def identify(*_: str) -> Person:
        principal = Principal("PractitionerRole/rad", "lead", "reporter", parse("user/*.rs"))
        return Person(principal, ending.is_withdrawn)

    archive.bridge.identify = identify
    ae = reactor.ApplicationEntity("CT1")
    ae.acse_timeout = ae.dimse_timeout = 20
    item = UserIdentityNegotiation()
    item.user_identity_type, item.primary_field = JWT, b"a token"
    association = await archive.call(
        ae.associate, "127.0.0.1", archive.port, [build_context(sop_class)],
        ae_title="ISOCENTRE", ext_neg=[item],
    )  # fmt: skip
    assert association.is_established
    ending.asked = 0

    keys = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.3")
    answer = await archive.call(getattr(association, message), keys, *said)
    status = await archive.call(lambda: next(iter(answer)))

    assert getattr(status[0] if isinstance(status, tuple) else status, "Status", None) == 0x0124
