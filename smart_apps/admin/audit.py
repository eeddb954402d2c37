"""The audit, searched: AuditEvents as the gate lets the visitor see them, page by page.

What is searched for is sent in a form and never stands in an address (threats T20).

IHE ITI-81; R014.1 of the requirements.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fhir_server.search import query as queries
from fhir_server.search.stored import Stored
from resources.errors import Refusal
from smart_apps.admin import markup
from smart_apps.admin.desk import EVERYBODY, Answer, Desk, Page, Place, Visit
from smart_apps.admin.markup import Markup, joined

ADDRESS: Final = "/admin/audit"
COUNT: Final = 50

FIELDS: Final = {
    "patient": "Patient/",
    "person": "PractitionerRole/",
    "organization": "Organization/",
    "object": "",
}
"""Field -> what stands before an id that is given without its type."""

ACTIONS: Final = {
    "": "Any",
    "R": "Read",
    "C": "Created",
    "U": "Changed",
    "D": "Deleted",
    "E": "Searched, signed in, other",
}
OUTCOMES: Final = {"": "Any", "0": "Done", "4": "Refused", "8": "Failed"}


async def shows(desk: Desk, visit: Visit) -> Answer:
    """Show the form, and the newest events."""
    return await _page(desk, visit, {})


async def searches(desk: Desk, visit: Visit) -> Answer:
    """Show a page of what was searched for."""
    return await _page(desk, visit, visit.fields)


async def _page(desk: Desk, visit: Visit, fields: Mapping[str, str]) -> Answer:
    given = {name: value.strip() for name, value in fields.items()}
    asking = _form(visit, given)
    try:
        pairs = _pairs(given)
        query = queries.parse("AuditEvent", pairs, strict=True)
        found = await desk.store.search(visit.context("search-type"), query)
    except Refusal as refusal:
        return Page("Audit", asking, refusal.reason, 400)
    told = [_told(row) for row in found.matches]
    names = await desk.names([each for row in told for each in (row["who"], row["place"])])
    rows = [
        (
            markup.element("span", row["when"], class_="when"),
            names.get(row["who"], row["who"]),
            row["role"],
            names.get(row["place"], row["place"]),
            row["what"],
            markup.element("span", row["object"], class_="long"),
            row["purpose"],
            row["outcome"],
        )
        for row in told
    ]
    headings = ("When (UTC)", "Who", "Role", "Organisation", "Did", "To", "What for", "Outcome")
    body = joined(asking, markup.table("Events, the newest first", headings, rows))
    if found.next is not None:
        kept = {name: value for name, value in given.items() if name in NAMES and value}
        again = markup.hidden({**kept, "cursor": found.next})
        body = joined(body, markup.form(ADDRESS, visit.token, again, markup.button("Older events")))
    return Page("Audit", body)


NAMES: Final = (*FIELDS, "from", "to", "action", "outcome")


def _pairs(given: Mapping[str, str]) -> list[tuple[str, str]]:
    """Write what is asked for as a search."""
    codes = {"patient": "patient", "person": "agent", "organization": "organization"}
    pairs = [("_count", str(COUNT))]
    for name, prefix in FIELDS.items():
        if value := given.get(name, ""):
            reference = value if "/" in value or not prefix else f"{prefix}{value}"
            pairs.append((codes.get(name, "entity"), reference.replace(",", "\\,")))
    for name, sign in (("from", "ge"), ("to", "le")):
        if value := given.get(name, ""):
            pairs.append(("date", f"{sign}{value}"))
    as_given = {"action": "action", "outcome": "outcome", "cursor": "_cursor"}
    pairs += [(code, given[name]) for name, code in as_given.items() if given.get(name)]
    return pairs


def _form(visit: Visit, given: Mapping[str, str]) -> Markup:
    hints = {
        "patient": ("Patient", "Id of the Patient."),
        "person": ("Person", "Id of the PractitionerRole, or a reference."),
        "organization": ("Organisation", "Id of the Organization acted for."),
        "object": ("Object", "A reference such as ImagingStudy/1."),
    }
    fields = [
        *(
            markup.field(label, name, given.get(name, ""), hint=hint, autocomplete="off")
            for name, (label, hint) in hints.items()
        ),
        markup.field("From", "from", given.get("from", ""), kind="date"),
        markup.field("To", "to", given.get("to", ""), kind="date"),
        markup.choice("Done", "action", ACTIONS, given.get("action", "")),
        markup.choice("Outcome", "outcome", OUTCOMES, given.get("outcome", "")),
    ]
    beside = joined(*(markup.element("div", each) for each in fields))
    inside = markup.element("div", beside, class_="fields")
    return markup.form(ADDRESS, visit.token, inside, markup.button("Search"))


def _told(row: Stored) -> dict[str, str]:
    """What an event says, as text."""
    event = row.json
    who: dict[str, Any] = next((one for one in event.get("agent", ()) if one.get("requestor")), {})
    places = [_reference(one.get("who", {})) for one in event.get("agent", ())]
    about = [
        _reference(one["what"])
        for one in event.get("entity", ())
        if "reference" in one.get("what", {})
    ]
    searched = [
        base64.b64decode(one["query"]).decode(errors="replace")
        for one in event.get("entity", ())
        if "query" in one
    ]
    kinds = [one.get("display") or one.get("code", "") for one in event.get("subtype", ())]
    return {
        "when": event.get("recorded", "").replace("T", " ")[:19],
        "who": _reference(who.get("who", {})),
        "role": ", ".join(one.get("text", "") for one in who.get("role", ())),
        "place": next((one for one in places if one.startswith("Organization/")), ""),
        "what": ", ".join(kinds) or event.get("type", {}).get("display", ""),
        "object": ", ".join([*about, *searched]),
        "purpose": _purpose(event),
        "outcome": OUTCOMES.get(event.get("outcome", ""), event.get("outcome", ""))
        + (f": {event['outcomeDesc']}" if "outcomeDesc" in event else ""),
    }


def _purpose(event: Mapping[str, Any]) -> str:
    said: Iterable[Mapping[str, Any]] = event.get("purposeOfEvent", ())
    for agent in event.get("agent", ()):
        said = [*said, *agent.get("purposeOfUse", ())]
    codings = [coding for one in said for coding in one.get("coding", ())]
    words = dict.fromkeys(str(one.get("display") or one.get("code", "")) for one in codings)
    return ", ".join(words)


def _reference(who: Mapping[str, Any]) -> str:
    return str(who.get("reference") or who.get("display") or "")


PLACES: Final = (Place(ADDRESS, "Audit", EVERYBODY, shows, searches),)
