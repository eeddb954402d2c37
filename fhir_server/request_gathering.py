"""Request gathering: all that there is of one request, as a pathway looks at it.

References
----------
* docs/adr/0016; docs/representation.md, "Steps"
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from fhir_server import recipients
from fhir_server.naming import held as pin
from fhir_server.naming import local, normal
from fhir_server.search.stored import Stored
from fhir_server.search.terms import initials
from fhir_server.store.drafts import Write
from fhir_server.store.unit_of_work import Work
from resources import acknowledgement, codes, elements, organization
from resources.onward_request import is_onward
from resources.request_state import RequestState, begins

Json = Mapping[str, Any]

BASED_ON: Final[Mapping[str, str]] = {
    "Task": "based-on",
    "Appointment": "based-on",
    "ImagingStudy": "basedon",
    "DiagnosticReport": "based-on",
}
"""What belongs to a request, and the search parameter that finds it (FHIR R4)."""


async def state(
    work: Work,
    stored: Stored,
    written: Sequence[Write],
    there: Sequence[Stored],
    policy: acknowledgement.Policy,
    base: str,
) -> tuple[RequestState, dict[str, Stored]]:
    """Gather what there is of a request, and as what each part of it is stored.

    Parameters
    ----------
    there
        What `hanging` gave.
    """
    request = pin(stored, base)
    found = others(stored.reference, written, there, base)
    held = tuple(pin(one, base) for one in found.values())
    gathered = RequestState(request, held, policy=policy)
    performer = gathered.performer
    is_numbered = any(
        codes.has(one.get("type"), codes.ACCESSION_NUMBER_TYPE)
        for one in request.json.get("identifier", ())
    )
    if performer and (is_onward(request.json) or not is_numbered):
        ods = organization.ods(await recipients.read(work, performer))
        gathered = replace(gathered, lead_ods=ods)
    issued = await recipients.of_reports(work, gathered, written, base)
    return replace(gathered, recipients=issued), {stored.reference: stored, **found}


def touched(write: Write, base: str) -> Iterable[str]:
    """Ids of the requests that pathways are walked for and that a write touches."""
    if write.stored.type == "ServiceRequest":
        if begins(normal(write.stored, base)):
            yield write.stored.id
    elif write.stored.type in BASED_ON:
        yield from asked_for(write.after, base)


def asked_for(json: Json, base: str) -> Iterable[str]:
    """Ids of the requests that something is based on."""
    for reference in elements.references(json.get("basedOn")):
        type_, _, id = local(reference, base).partition("/")
        if type_ == "ServiceRequest":
            yield id


async def hanging(work: Work, name: str) -> list[Stored]:
    """What was based on a request before this work: its steps and studies, what serves it, all."""
    if work.is_new(name):
        return []
    named = {**BASED_ON, "ServiceRequest": "based-on"}
    return await work.bearing([f"{initials(type)}.{code}={name}" for type, code in named.items()])


def others(
    name: str, written: Sequence[Write], there: Sequence[Stored], base: str
) -> dict[str, Stored]:
    """What is based on a request: what was there, and over it what this work wrote."""
    found = {stored.reference: stored for stored in there if stored.type in BASED_ON}
    for write in written:
        if write.stored.type in BASED_ON:
            found.pop(write.stored.reference, None)
            based_on = elements.references(write.after.get("basedOn"))
            if name in (local(one, base) for one in based_on):
                found[write.stored.reference] = write.stored
    return found
