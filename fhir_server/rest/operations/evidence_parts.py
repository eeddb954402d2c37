"""What there was, what was displayed, what has changed: the three parts of evidence (R014.3).

FHIR R4 Provenance.entity; AuditEvent.entity; http, "history".
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from fhir_server.rest.operations.evidence_case import Case, Told
from fhir_server.rest.operations.past import Past
from fhir_server.search.stored import Stored
from resources import codes, elements, evidence, imaging_study
from resources.content import written_instant

LOOKED: Final = ("ImagingStudy", "DiagnosticReport")


async def available(past: Past, case: Case, told: Told) -> dict[str, Stored]:
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


async def displayed(past: Past, case: Case, told: Told) -> bool:
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


async def changed(
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
