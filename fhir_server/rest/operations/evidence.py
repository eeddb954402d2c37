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
from typing import Any, Final

import orjson

from fhir_server.access import gate
from fhir_server.context import RequestContext
from fhir_server.rest import bundles, outcomes
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.search import query as queries
from fhir_server.search.stored import Stored
from fhir_server.store.history import Cut
from fhir_server.store.store import Store
from resources import codes, elements, evidence, imaging_study, references, report
from resources.content import written_instant
from resources.errors import Forbidden, Gone, Issue, NotFound, TooLarge

TAKES: Final = (Taken("version", "integer"),)

MOST: Final = 1000
"""Studies, reports, versions or accesses of one patient that are looked at."""
HIGHEST: Final = 2**31 - 1

LOOKED: Final = ("ImagingStudy", "DiagnosticReport")
DISPLAYS: Final = ("read", "vread", "WADO-RS", "C-GET", "C-MOVE")
"""Interactions that show something to somebody."""

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


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer the evidence of a report: of the version named, or of its first issued one.

    Raises
    ------
    NotFound
        There is no such report, or the asker may not see it, or it was not issued.
    """
    for type in ("DiagnosticReport", "ImagingStudy", "Provenance"):
        gate.reach(request.context, "r", type)
    request.handed_over = True
    store, context, base = server.store, request.context, server.base_url
    versions = await _versions(store, context, "DiagnosticReport", request.id)
    issued = _issued(versions, given.number("version", HIGHEST))
    told = Told()
    patient = _patient(issued, base)
    made = await _provenance(store, context, issued, base)
    author = _author(made)
    told.parts += [
        {"name": "report", "valueReference": {"reference": told.show(issued)}},
        {"name": "issued", "valueInstant": written_instant(issued.instant)},
        *([{"name": "author", "valueReference": {"reference": author}}] if author else []),
    ]
    if made is not None:
        told.show(made)
    held = await _available(store, context, issued, made, patient, told, base)
    opened = await _displayed(store, context, issued, author, patient, told, base)
    await _changed(store, context, versions, issued, held, patient, told, base)
    request.handed_over = False
    first = {"resourceType": "Parameters", "parameter": told.parts}
    entries = [b'{"resource":%b}' % orjson.dumps(first), *_entries(base, told.shown)]
    if not opened:
        remark = outcomes.outcome([Issue("suppressed", HIDDEN)], severity="information")
        entries.append(b'{"resource":%b}' % remark)
    body = bundles.bundle(b"collection", entries)
    return Result(Answer(200, body), patient, len(told.shown))


def _entries(base: str, shown: dict[str, Stored]) -> Iterable[bytes]:
    """Write the versions; a fullUrl names no version (bdl-8), the resource does (bdl-7)."""
    for row in shown.values():
        address = f"{base}/{row.reference}".encode()
        yield b'{"fullUrl":"%b","resource":%b}' % (address, row.text)


async def _versions(store: Store, context: RequestContext, type: str, id: str) -> list[Stored]:
    """All versions of a resource, the oldest first."""
    page = await store.history(context, type, id, Cut(MOST))
    if page.next is not None:
        raise TooLarge(f"There are more than {MOST} versions.", code="too-costly")
    return page.matches[::-1]


def _issued(versions: list[Stored], number: int | None) -> Stored:
    """The version asked for, or the first one that was given out."""
    for one in versions:
        if one.version == number or (number is None and report.is_issued(one.json)):
            if not report.is_issued(one.json):
                break
            return one
    raise NotFound("There is no such issued version of the report.", "version")


def _patient(row: Stored, base: str) -> str | None:
    about = references.parse(row.json.get("subject", {}).get("reference", ""), base)
    return about.id if about is not None and about.type == "Patient" else None


async def _provenance(
    store: Store, context: RequestContext, issued: Stored, base: str
) -> Stored | None:
    """The Provenance that was written when the report was signed."""
    target = f"{issued.reference}/_history/{issued.version}"
    activity = codes.LEGALLY_AUTHENTICATED.token
    found = await _search(store, context, "Provenance", base, target=target, activity=activity)
    return found[0] if found else None


def _author(made: Stored | None) -> str:
    for agent in made.json.get("agent", ()) if made is not None else ():
        for reference in elements.references(agent.get("who")):
            return reference
    return ""


async def _search(
    store: Store, context: RequestContext, type: str, base: str, **criteria: str
) -> list[Stored]:
    pairs = [*((name.replace("_of", "-of"), value) for name, value in criteria.items())]
    query = queries.parse(type, [*pairs, ("_count", str(MOST))], strict=True, own_base=base)
    page = await store.search(context, query)
    if page.next is not None:
        raise TooLarge(f"There are more than {MOST} {type} to look at.", code="too-costly")
    return page.matches


async def _available(
    store: Store,
    context: RequestContext,
    issued: Stored,
    made: Stored | None,
    patient: str | None,
    told: Told,
    base: str,
) -> dict[str, Stored]:
    """Say what there was; give the studies and reports as they stood, by reference."""
    held: dict[str, Stored] = {}
    for entity in made.json.get("entity", ()) if made is not None else ():
        what = references.parse(entity.get("what", {}).get("reference", ""), base)
        if what is None or what.version is None:
            continue
        row = await _version(store, context, what.type, what.id, int(what.version))
        if row is not None:
            held[row.reference] = row
            role = elements.extension_value(entity, codes.EVIDENCE_ROLE_EXTENSION)
            _say_available(told, row, role or "source")
    for type in LOOKED if patient is not None else ():
        for now in await _search(store, context, type, base, patient=str(patient)):
            if now.reference in {*held, issued.reference}:
                continue
            row = await _at(store, context, now, issued.instant)
            if row is not None and not row.deleted:
                held[row.reference] = row
                _say_available(told, row, codes.EVIDENCE_AVAILABLE.code)
    return held


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


async def _version(
    store: Store, context: RequestContext, type: str, id: str, version: int
) -> Stored | None:
    try:
        return await store.vread(context, type, id, version)
    except (NotFound, Gone, Forbidden):
        return None


async def _at(store: Store, context: RequestContext, now: Stored, instant: int) -> Stored | None:
    """A resource as it stood at an instant, or None if it was not there yet."""
    if now.instant < instant:
        return now
    page = await store.history(context, now.type, now.id, Cut(1, high=instant - 1))
    return page.matches[0] if page.matches else None


async def _displayed(
    store: Store,
    context: RequestContext,
    issued: Stored,
    author: str,
    patient: str | None,
    told: Told,
    base: str,
) -> bool:
    """Say what the author opened of the patient until the report was issued; False if not told."""
    try:
        gate.reach(context, "s", "AuditEvent")
    except Forbidden:
        return False
    if not author or patient is None:
        return True
    since = await _since(store, context, issued, base)
    asked = [
        ("agent", author),
        ("patient", f"Patient/{patient}"),
        ("action", "R"),
        ("outcome", "0"),
        ("date", f"le{written_instant(issued.instant)}"),
        ("_sort", "date"),
        ("_count", str(MOST)),
    ]
    if since is not None:
        asked.append(("date", f"ge{written_instant(since)}"))
    page = await store.search(context, queries.parse("AuditEvent", asked, own_base=base))
    if page.next is not None:
        raise TooLarge(f"There are more than {MOST} accesses to look at.", code="too-costly")
    first: dict[str, list[Stored]] = {}
    for row in page.matches:
        for what in _opened(row):
            first.setdefault(what, []).append(row)
    for what, rows in first.items():
        told.show(rows[0])
        told.say(
            "displayed",
            what,
            ("first", "Instant", written_instant(rows[0].instant)),
            ("last", "Instant", written_instant(rows[-1].instant)),
            ("times", "UnsignedInt", len(rows)),
        )
    return True


def _opened(event: Stored) -> Iterable[str]:
    """The objects of an access that are part of the evidence."""
    for entity in event.json.get("entity", ()):
        reference = entity.get("what", {}).get("reference", "")
        if reference.partition("/")[0] in (*LOOKED, "ServiceRequest"):
            yield reference


async def _since(store: Store, context: RequestContext, issued: Stored, base: str) -> int | None:
    """When the first of the requests was written that the report answers."""
    found: list[int] = []
    for literal in elements.references(issued.json.get("basedOn")):
        request = references.parse(literal, base)
        if request is not None and request.type == "ServiceRequest":
            row = await _version(store, context, request.type, request.id, 1)
            found += [row.instant] if row is not None else []
    return min(found, default=None)


async def _changed(
    store: Store,
    context: RequestContext,
    versions: list[Stored],
    issued: Stored,
    held: dict[str, Stored],
    patient: str | None,
    told: Told,
    base: str,
) -> None:
    """Say what came, went or was said since."""
    later = [one for one in versions if one.version > issued.version]
    for before, after in pairwise([issued, *later]):
        if after.deleted:
            _say_changed(told, after, evidence.Change("deleted"))
            continue
        for change in evidence.of_report(before.json, after.json):
            _say_changed(told, after, change)
    addenda = {
        row.reference: row
        for row in await _search(
            store, context, "DiagnosticReport", base, addendum_of=issued.reference
        )
        if row.instant > issued.instant
    }
    for row in addenda.values():
        _say_changed(told, row, evidence.Change("addendum"))
    present: dict[str, Stored] = {}
    for type in LOOKED if patient is not None else ():
        found = await _search(store, context, type, base, patient=str(patient))
        present |= {row.reference: row for row in found}
    for reference, row in present.items():
        then = held.get(reference)
        if reference in addenda or reference == issued.reference:
            continue
        if then is None:
            kind = "late-study" if row.type == "ImagingStudy" else "late-report"
            _say_changed(told, row, evidence.Change(kind))
        elif row.version > then.version:
            is_study = row.type == "ImagingStudy"
            compare = evidence.of_study if is_study else evidence.of_report
            for change in compare(then.json, row.json):
                _say_changed(told, row, change)
    for reference in held.keys() - present.keys():
        if held[reference].type in LOOKED:
            told.say("changed", reference, ("kind", "Code", "deleted"))


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
