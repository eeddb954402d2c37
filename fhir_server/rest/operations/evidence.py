"""DiagnosticReport/$evidence: what its author could see, what they opened, what changed (R014.3).

The answer is a Bundle of type collection. Its first entry is a Parameters resource that says it in
three parts, with versioned references: ``available`` when the report was issued, ``displayed`` to
its author from the request until then, ``changed`` since. The entries after it are the versions,
the Provenance and the AuditEvents that it speaks of.

Available is what the Provenance of the report pins, and whatever else there was of the patient at
that instant, as far as the one who asks may see it now. What was displayed is in the ledger: who
may not search AuditEvents is not told, and told so.

References
----------
* R014.3 of the requirements; docs/adr/0028-evidence-is-a-collection-of-versions.md
* FHIR R4 Provenance.entity, DiagnosticReport.issued, Bundle (type collection)
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

import orjson

from fhir_server.access import gate
from fhir_server.rest import bundles, outcomes
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.past import Past
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.search.stored import Stored
from resources import codes, elements, evidence, imaging_study, report
from resources.content import written_instant
from resources.errors import Forbidden, Issue, NotFound

TAKES: Final = (Taken("version", "integer"),)

HIGHEST: Final = 2**31 - 1

LOOKED: Final = ("ImagingStudy", "DiagnosticReport")
HIDDEN: Final = "What was displayed is told to those who may search AuditEvents."


@dataclass
class Told:
    """What is said, and the resources it is said of, by versioned reference."""

    parts: list[dict[str, Any]] = field(default_factory=list)
    shown: dict[str, Stored] = field(default_factory=dict)

    def say(self, name: str, what: str, *more: tuple[str, str, Any]) -> None:
        """Add one line: what it is about, and more parts as name, type and value."""
        parts: list[dict[str, Any]] = [{"name": "what", "valueReference": {"reference": what}}]
        parts += [
            {"name": each, f"value{type}": value} for each, type, value in more if value is not None
        ]
        self.parts.append({"name": name, "part": parts})

    def show(self, row: Stored) -> str:
        """Add a version to what is shown, and give its reference."""
        reference = f"{row.reference}/_history/{row.version}"
        self.shown[reference] = row
        return reference


class Case(NamedTuple):
    """The report as it was issued, the Provenance of that, who signed it, and whom it is about."""

    issued: Stored
    made: Stored | None
    author: str
    patient: str | None


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer the evidence of a report: of the version named, or of its first issued one.

    Raises
    ------
    NotFound
        There is no such report, or the asker may not see it, or it was not issued.
    """
    for type in ("DiagnosticReport", "ImagingStudy", "Provenance"):
        gate.reach(request.context, "r", type)
    past = Past(server, request)
    request.handed_over = True
    versions = await past.versions("DiagnosticReport", request.id)
    request.handed_over = False
    issued = _issued(versions, given.number("version", HIGHEST))
    request.handed_over = True
    made = await _provenance(past, issued)
    case = Case(issued, made, _author(made), _patient(past, issued))
    told = Told()
    told.parts += [
        {"name": "report", "valueReference": {"reference": told.show(issued)}},
        {"name": "issued", "valueInstant": written_instant(issued.instant)},
    ]
    if case.author:
        told.parts.append({"name": "author", "valueReference": {"reference": case.author}})
    if made is not None:
        told.show(made)
    held = await _available(past, case, told)
    opened = _may_see_accesses(request) and await _displayed(past, case, told)
    await _changed(past, versions, case, held, told)
    request.handed_over = False
    first = {"resourceType": "Parameters", "parameter": told.parts}
    entries = [b'{"resource":%b}' % orjson.dumps(first), *_entries(server.base_url, told.shown)]
    if not opened:
        remark = outcomes.outcome([Issue("suppressed", HIDDEN)], severity="information")
        entries.append(b'{"resource":%b}' % remark)
    body = bundles.bundle(b"collection", entries)
    return Result(Answer(200, body), case.patient, len(told.shown))


def _entries(base: str, shown: dict[str, Stored]) -> Iterable[bytes]:
    """Write the versions; a fullUrl names no version (bdl-8), the resource does (bdl-7)."""
    for row in shown.values():
        address = f"{base}/{row.reference}".encode()
        yield b'{"fullUrl":"%b","resource":%b}' % (address, row.text)


def _issued(versions: list[Stored], number: int | None) -> Stored:
    """The version asked for, or the first one that was given out."""
    for one in versions:
        if one.version == number or (number is None and report.is_issued(one.json)):
            if not report.is_issued(one.json):
                break
            return one
    raise NotFound("There is no such issued version of the report.", "version")


def _patient(past: Past, row: Stored) -> str | None:
    about = past.parsed(row.json.get("subject", {}).get("reference", ""))
    return about.id if about is not None and about.type == "Patient" else None


async def _provenance(past: Past, issued: Stored) -> Stored | None:
    """The Provenance that was written when the report was signed."""
    target = f"{issued.reference}/_history/{issued.version}"
    activity = codes.LEGALLY_AUTHENTICATED.token
    found = await past.search("Provenance", ("target", target), ("activity", activity))
    return found[0] if found else None


def _author(made: Stored | None) -> str:
    for agent in made.json.get("agent", ()) if made is not None else ():
        for reference in elements.references(agent.get("who")):
            return reference
    return ""


async def _available(past: Past, case: Case, told: Told) -> dict[str, Stored]:
    """Say what there was; give the studies and reports as they stood, by reference."""
    held: dict[str, Stored] = {}
    for entity in case.made.json.get("entity", ()) if case.made is not None else ():
        what = past.parsed(entity.get("what", {}).get("reference", ""))
        if what is None or what.version is None:
            continue
        row = await past.version(what.type, what.id, int(what.version))
        if row is not None:
            held[row.reference] = row
            role = elements.extension_value(entity, codes.EVIDENCE_ROLE_EXTENSION)
            _say_available(told, row, role or "source")
    for now in await _of_patient(past, case):
        if now.reference in {*held, case.issued.reference}:
            continue
        row = await past.before(now, case.issued.instant)
        if row is not None and not row.deleted:
            held[row.reference] = row
            _say_available(told, row, codes.EVIDENCE_AVAILABLE.code)
    return held


async def _of_patient(past: Past, case: Case) -> list[Stored]:
    """The studies and reports of the patient, as they are now."""
    if case.patient is None:
        return []
    about = ("patient", f"Patient/{case.patient}")
    return [row for type in LOOKED for row in await past.search(type, about)]


def _say_available(told: Told, row: Stored, role: str) -> None:
    manifest = imaging_study.manifest(row.json) if row.type == "ImagingStudy" else None
    told.say(
        "available",
        told.show(row),
        ("role", "Code", role),
        ("status", "Code", row.json.get("status")),
        ("instances", "UnsignedInt", manifest and manifest.instances),
        ("sha256", "String", manifest and manifest.sha256),
    )


def _may_see_accesses(request: Request) -> bool:
    try:
        gate.reach(request.context, "s", "AuditEvent")
    except Forbidden:
        return False
    return True


async def _displayed(past: Past, case: Case, told: Told) -> bool:
    """Say what the author opened of the patient from the request until the report was issued."""
    if not case.author or case.patient is None:
        return True
    asked = [
        ("agent", case.author),
        ("patient", f"Patient/{case.patient}"),
        ("action", "R"),
        ("outcome", "0"),
        ("date", f"le{written_instant(case.issued.instant)}"),
        ("_sort", "date"),
    ]
    since = await _since(past, case.issued)
    if since is not None:
        asked.append(("date", f"ge{written_instant(since)}"))
    rows: dict[str, list[Stored]] = {}
    for row in await past.search("AuditEvent", *asked):
        for what in _opened(row):
            rows.setdefault(what, []).append(row)
    for what, found in rows.items():
        told.show(found[0])
        told.say(
            "displayed",
            what,
            ("first", "Instant", written_instant(found[0].instant)),
            ("last", "Instant", written_instant(found[-1].instant)),
            ("times", "UnsignedInt", len(found)),
        )
    return True


def _opened(event: Stored) -> Iterable[str]:
    """The objects of an access that are part of the evidence."""
    for entity in event.json.get("entity", ()):
        reference = entity.get("what", {}).get("reference", "")
        if reference.partition("/")[0] in (*LOOKED, "ServiceRequest"):
            yield reference


async def _since(past: Past, issued: Stored) -> int | None:
    """When the first of the requests was written that the report answers."""
    found: list[int] = []
    for literal in elements.references(issued.json.get("basedOn")):
        request = past.parsed(literal)
        if request is not None and request.type == "ServiceRequest":
            row = await past.version(request.type, request.id, 1)
            found += [row.instant] if row is not None else []
    return min(found, default=None)


async def _changed(
    past: Past, versions: list[Stored], case: Case, held: dict[str, Stored], told: Told
) -> None:
    """Say what came, went or was said since."""
    issued = case.issued
    later = [one for one in versions if one.version > issued.version]
    for before, after in pairwise([issued, *later]):
        gone = [evidence.Change("deleted")]
        for change in gone if after.deleted else evidence.of_report(before.json, after.json):
            _say_changed(told, after, change)
    found = await past.search("DiagnosticReport", ("addendum-of", issued.reference))
    addenda = {row.reference: row for row in found if row.instant > issued.instant}
    for row in addenda.values():
        _say_changed(told, row, evidence.Change("addendum"))
    present = {row.reference: row for row in await _of_patient(past, case)}
    for reference, row in present.items():
        if reference in addenda or reference == issued.reference:
            continue
        for change in _since_then(held.get(reference), row):
            _say_changed(told, row, change)
    for reference in held.keys() - present.keys():
        if held[reference].type in LOOKED:
            told.say("changed", reference, ("kind", "Code", "deleted"))


def _since_then(then: Stored | None, now: Stored) -> list[evidence.Change]:
    is_study = now.type == "ImagingStudy"
    if then is None:
        return [evidence.Change("late-study" if is_study else "late-report")]
    if now.version == then.version:
        return []
    return (evidence.of_study if is_study else evidence.of_report)(then.json, now.json)


def _say_changed(told: Told, row: Stored, change: evidence.Change) -> None:
    what = told.show(row) if not row.deleted else f"{row.reference}/_history/{row.version}"
    told.say(
        "changed",
        what,
        ("kind", "Code", change.kind),
        ("text", "String", evidence.KINDS[change.kind]),
        ("when", "Instant", written_instant(row.instant)),
        *(("uid", "Oid", f"urn:oid:{one}") for one in change.uids),
    )
