"""Changes of who may do what: with their row in the ledger, or not at all."""

import pytest

from fhir_server.access.principal import Principal
from fhir_server.access.scopes import parse as scopes
from fhir_server.audit import configuration
from fhir_server.audit.events import event
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.search.query import parse
from fhir_server.store.store import Store
from fhir_server.store.unit_of_work import Hooks
from resources import validate
from resources.content import made
from resources.errors import Invalid

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R014.1")]

DCM = "http://dicom.nema.org/resources/ontology/DCM"


def by_operator(interaction: str) -> RequestContext:
    return RequestContext(Principal.system("command"), interaction, "command line")


@pytest.mark.standard("PS3.15 A.5.3.11")
@pytest.mark.parametrize(
    ("interaction", "code"),
    [(configuration.SECURITY, "110129"), (configuration.PEOPLE, "110137")],
)
def test_it_is_a_security_alert(interaction: str, code: str) -> None:
    row = event(interaction)

    assert (row.type.system, row.type.code, row.action) == (DCM, "110113", "E")
    assert row.subtype is not None
    assert (row.subtype.system, row.subtype.code) == (DCM, code)


async def test_a_change_that_is_undone_leaves_no_row(database: Database) -> None:
    async def fails() -> None:
        async with database.transaction() as change:
            await configuration.note(change, by_operator(configuration.SECURITY), "x")
            raise Invalid("a change that cannot be made")

    with pytest.raises(Invalid):
        await fails()
    async with database.transaction() as change:
        await configuration.note(change, by_operator(configuration.SECURITY), "y")

    rows = await database.run("select detail from audit where interaction = 'configuration'")
    assert rows == [("y",)]


@pytest.mark.parametrize(
    ("organization", "role", "sees"),
    [("holder", "auditor", 2), ("holder", "administrator", 2), ("lead", "auditor", 0),
     ("lead", "administrator", 0)],
)  # fmt: skip
async def test_who_looks_after_the_installation_finds_it(
    database: Database, organization: str, role: str, sees: int
) -> None:
    store = Store(database, Ledger(database), Hooks(), "http://x/fhir", holder="holder")
    async with database.transaction() as change:
        await configuration.note(change, by_operator(configuration.SECURITY), "client a disabled")
        await configuration.note(
            change, by_operator(configuration.PEOPLE), "password changed",
            type="PractitionerRole", id="ann",
        )  # fmt: skip
    who = Principal("PractitionerRole/x", organization, role, scopes("user/*.rs"), client="app")

    asked = parse("AuditEvent", [("type", f"{DCM}|110113")])
    page = await store.search(RequestContext(who, "search-type"), asked)

    assert len(page.matches) == sees
    assert all(validate.check(made(one.json)) == [] for one in page.matches)
