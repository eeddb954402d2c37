"""Emergencies: an emergency access is opened, and told to those who have to look at it.

The row, the Task and the audit row of it are written in one transaction, before there is a token:
there may be an alert without an access, and never an access without an alert.

See `fhir_server.access.emergency`, `resources.emergency_review`.
"""

from dataclasses import replace
from typing import Final, NamedTuple

from fhir_server.access import emergency
from fhir_server.access.emergency import Emergency
from fhir_server.access.principal import Principal
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.search import query
from fhir_server.store import ids
from fhir_server.store.store import Store
from resources import codes, content, elements, emergency_review
from resources.content import written_instant

OURSELVES: Final = Principal.system("emergency")
KEEP: Final = """
INSERT INTO emergency (id, patient, subject, organization, role, reason, said, authorized,
    instant, until)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""


class Wish(NamedTuple):
    """What a clinician asks for.

    Parameters
    ----------
    patient
        Id of the Patient, as `identified`.
    reason
        A key of `emergency.REASONS`.
    text
        Why, in their own words.
    """

    patient: str
    reason: str
    text: str


async def identified(store: Store, nhs: str, born: str) -> str | None:
    """Find the one patient of this NHS number and this date of birth, whoever may see them."""
    context = RequestContext(OURSELVES, "search-type", "emergency")
    asked = [("identifier", f"{codes.NHS_NUMBER}|{nhs}"), ("_count", "2")]
    page = await store.search(context, query.parse("Patient", asked, strict=True))
    found = [one for one in page.matches if one.json.get("birthDate") == born]
    return found[0].id if len(found) == 1 and len(page.matches) == 1 else None


async def open_access(
    store: Store, context: RequestContext, wish: Wish, authorized: str
) -> Emergency:
    """Open an emergency access, from the instant of the context on.

    Parameters
    ----------
    context
        Who asks.
    authorized
        Id of the authorisation whose tokens it goes into.

    Raises
    ------
    Forbidden
        Nobody in this role has emergency access.
    Invalid
        The reason or the text is not one.
    """
    emergency.check_role(context.principal.role)
    said = emergency.check(wish.reason, wish.text)
    who, instant = context.principal, context.instant
    until = instant + emergency.LONGEST_SECONDS * 1_000_000
    opened = Emergency(ids.new(), wish.reason, until)
    in_it = replace(who, patient=wish.patient, emergency=opened)
    as_server = replace(context, principal=OURSELVES, interaction="create")
    async with store.begin(as_server) as work:
        patient = await work.read("Patient", wish.patient)
        keeper = elements.unversioned(
            patient.json.get("managingOrganization", {}).get("reference", "")
        )
        type, _, holder = keeper.rpartition("/")
        review = emergency_review.made(
            patient=wish.patient,
            subject=who.subject,
            organization=str(who.organization),
            holder=holder if type.endswith("Organization") else str(who.organization),
            reason=emergency.REASONS[wish.reason],
            text=said,
            start=written_instant(instant),
            end=written_instant(until),
        )
        made = await work.create(content.made(review), opened.id)
        row = ledger.entry(
            replace(context, principal=in_it, interaction="login"),
            type="Task",
            id=made.id,
            version=made.version,
            patient=wish.patient,
            detail="emergency access opened",
        )
        work.add(
            KEEP,
            (opened.id, wish.patient, who.subject, who.organization, who.role, wish.reason, said,
             authorized, instant, until),
        )  # fmt: skip
        work.add(ledger.INSERT, ledger.arrays([row]))
    return opened
