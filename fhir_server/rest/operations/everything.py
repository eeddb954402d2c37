"""Patient/$everything: the whole record of one patient, as far as the asker sees it.

A page holds what is in the Patient compartment, the oldest change first, and with it the
organisations, people and places that it names. The next link leads on; what changes meanwhile is
met later.

References
----------
* FHIR R4 Patient, operation $everything: start, end, _since, _type, _count
* R006 of the requirements: the full imaging record
"""

from typing import Final

from fhir_server.rest import bundles
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.search import date
from fhir_server.search.stored import Stored
from fhir_server.store.walking import NO_END, Place, Walk
from resources import compartments, references
from resources.errors import Invalid
from resources.models import TYPES

DEFAULT_COUNT: Final = 100
MOST_COUNT: Final = 1000

CURSOR: Final = "_cursor"

TAKES: Final = (
    Taken("start", "date"),
    Taken("end", "date"),
    Taken("_since", "instant"),
    Taken("_type", "code", 0, "*"),
    Taken("_count", "integer"),
    Taken(CURSOR, "string"),
)

NAMED: Final = frozenset({
    "Binary", "Device", "Endpoint", "HealthcareService", "Location", "Medication", "Organization",
    "Practitioner", "PractitionerRole",
})  # fmt: skip
"""FHIR R4 $everything: "any resource referenced from those"; who, where and with what."""


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer a page of the record as a searchset.

    Raises
    ------
    NotFound
        There is no such patient, or the asker has nothing to do with them.
    """
    request.handed_over = True
    await server.store.read(request.context, "Patient", request.id)
    request.handed_over = False
    wanted = _types(given)
    walk = Walk(
        ("Patient", *sorted(wanted - NAMED - {"Patient"}))
        if "Patient" in wanted
        else tuple(sorted(wanted - NAMED)),
        patients=(request.id,),
        since=_period(given, "_since")[1] if "_since" in given else 0,
        care=_care(given),
    )
    count = min(given.number("_count", MOST_COUNT) or DEFAULT_COUNT, MOST_COUNT)
    leg = await server.store.walk(request.context, walk, _place(given.text(CURSOR)), count)
    named = await _named(server, request, leg.rows, wanted)
    base = server.base_url.encode()
    entries = bundles.hits(base, leg.rows, b"match") + bundles.hits(base, named, b"include")
    links = [("self", _address(server, request, given))]
    if leg.next is not None:
        following = ".".join(str(each) for each in leg.next)
        links.append(("next", _address(server, request, given, following)))
    body = bundles.bundle(b"searchset", entries, links=links)
    return Result(Answer(200, body), request.id, len(leg.rows))


def _types(given: Given) -> frozenset[str]:
    """Say which types are wanted: all of the compartment, or those named of it."""
    every = frozenset(type for type in TYPES if compartments.in_patient_compartment(type)) | NAMED
    every -= {"AuditEvent"}
    listed = frozenset(given.listed("_type"))
    if unknown := sorted(listed - every):
        raise Invalid(f"{unknown[0]} is not part of a patient's record.", "_type", "invalid")
    return listed or every


def _care(given: Given) -> tuple[int, int] | None:
    """Read start and end: the period of care that is asked about."""
    if "start" not in given and "end" not in given:
        return None
    low = _period(given, "start")[0] if "start" in given else date.BEGINNING
    high = _period(given, "end")[1] if "end" in given else NO_END
    return low, high


def _period(given: Given, name: str) -> tuple[int, int]:
    try:
        return date.period(given.text(name))
    except ValueError:
        raise Invalid(f"{name} is not a date.", name, "value") from None


def _place(cursor: str) -> Place:
    if not cursor:
        return Place()
    parts = cursor.split(".")
    if len(parts) != 3 or not all(each.isascii() and each.isdigit() for each in parts):
        raise Invalid("The cursor is not one that this server gave.", CURSOR, "invalid")
    numbers = [int(each) for each in parts]
    if max(numbers) > NO_END:
        raise Invalid("The cursor is not one that this server gave.", CURSOR, "invalid")
    return Place(*numbers)


async def _named(
    server: Server, request: Request, rows: list[Stored], wanted: frozenset[str]
) -> list[Stored]:
    """Read who and what these rows name, as far as the asker may."""
    found: dict[str, None] = {}
    for row in rows:
        for _, literal, _ in references.find(row.json):
            named = references.parse(literal, server.base_url)
            if named is not None and named.type in NAMED & wanted and not named.base:
                found[f"{named.type}/{named.id}"] = None
    return list((await server.store.many(request.context, list(found))).values()) if found else []


def _address(server: Server, request: Request, given: Given, cursor: str = "") -> str:
    base = f"{server.base_url}/Patient/{request.id}/$everything"
    names = [taken.name for taken in TAKES if taken.name != CURSOR]
    pairs = [(name, str(value)) for name in names for value in given.all(name)]
    own = cursor or given.text(CURSOR)
    return bundles.address(base, [*pairs, (CURSOR, own)] if own else pairs)
