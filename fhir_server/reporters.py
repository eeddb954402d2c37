"""Reporters, gathered from the record: whom a report names, and who they are (R015.3).

References
----------
* docs/representation.md, "Reports"; FHIR R4 DiagnosticReport.performer, resultsInterpreter
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fhir_server.naming import local, split
from fhir_server.search.query import parse
from fhir_server.store.unit_of_work import Work
from resources.errors import NotFound
from resources.report import WHOLE_REPORT
from resources.reporters import Reporter

Json = Mapping[str, Any]

AUTHORED: Final = ("conclusion", "conclusionCode", "result")
"""What makes a report another one, with its forms; who changes it has reported too."""


async def found(
    work: Work, given: Json, defaults: Mapping[str, Sequence[Json]], base: str
) -> list[Reporter]:
    """Everybody whom a report names, those who interpret first.

    A Practitioner without a role is looked up: the registered speciality is that of their role at
    the organisation that reports.
    """
    interpreters = given.get("resultsInterpreter") or defaults.get("resultsInterpreter", ())
    performers = given.get("performer") or defaults.get("performer", ())
    named: dict[str, list[Json]] = {}
    words: list[str] = []
    for reference in [*interpreters, *performers]:
        resource = await _read(work, given, reference, base)
        if resource:
            named.setdefault(resource["resourceType"], []).append(resource)
        elif reference in interpreters and reference.get("display"):
            words.append(str(reference["display"]))
    place = next(iter(named.get("Organization", ())), {})
    reporters = [
        await _in_role(work, one, place, base) for one in named.get("PractitionerRole", ())
    ]
    known = [one.practitioner.get("id") for one in reporters]
    reporters += [
        await _person(work, one, place)
        for one in named.get("Practitioner", ())
        if one.get("id") not in known
    ]
    reporters += [Reporter(place, {}, {}, name) for name in words]
    return list({str(one): one for one in reporters}.values()) or [Reporter(place, {}, {})]


async def revised_by(work: Work, given: Json, base: str) -> list[Json]:
    """Who changes what a report says and is not named in it yet, as a reference; mostly nobody."""
    subject = work.context.principal.subject
    if not subject.startswith("PractitionerRole/") or "id" not in given:
        return []
    named = [*given.get("resultsInterpreter", ()), *given.get("performer", ())]
    if not named or subject in (local(one.get("reference", ""), base) for one in named):
        return []
    try:
        before = (await work.read("DiagnosticReport", given["id"])).json
    except NotFound:
        return []
    return [{"reference": subject}] if _said(before) != _said(given) else []


def _said(report: Json) -> list[Any]:
    """What its authors say in a report."""
    forms = [one for one in report.get("presentedForm", ()) if one.get("title") != WHOLE_REPORT]
    return [*(report.get(member) for member in AUTHORED), forms]


async def _read(work: Work, given: Json, reference: Json, base: str) -> Json:
    """What a reference leads to, here or within the report."""
    literal = str(reference.get("reference", ""))
    if literal.startswith("#"):
        contained = (one for one in given.get("contained", ()) if one.get("id") == literal[1:])
        return next(contained, {})
    name = local(literal, base)
    if name.partition("/")[0] not in ("Organization", "Practitioner", "PractitionerRole"):
        return {}
    try:
        return (await work.read(*split(name))).json
    except NotFound:
        return {}


async def _in_role(work: Work, role: Json, place: Json, base: str) -> Reporter:
    person = await _read(work, role, role.get("practitioner", {}), base)
    own = await _read(work, role, role.get("organization", {}), base)
    name = str(role.get("practitioner", {}).get("display", ""))
    return Reporter(own or place, person, role, name)


async def _person(work: Work, person: Json, place: Json) -> Reporter:
    roles: list[Json] = []
    if "id" in person and "id" in place:
        asked = [
            ("practitioner", f"Practitioner/{person['id']}"),
            ("organization", f"Organization/{place['id']}"),
            ("_count", "1000"),
        ]
        roles = [
            one.json for one in await work.search(parse("PractitionerRole", asked, strict=True))
        ]
    return Reporter(place, person, next((one for one in roles if one.get("specialty")), {}))
