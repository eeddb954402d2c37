"""The invariants of R4, each with an element that keeps it and one that breaks it."""

from typing import Any

import pytest

from resources.invariants import INVARIANTS
from resources.predicates import is_in_order
from resources.validate import check
from tests.resources.invariant_rows import DATATYPES, DEFINITIONS

Json = dict[str, Any]


def concept(code: str, system: str = "http://x") -> Json:
    return {"coding": [{"system": system, "code": code}]}


def of(resource_type: str, /, **members: Any) -> Json:
    return {"resourceType": resource_type, **members}


def appointment(**members: Any) -> Json:
    who = {"actor": {"display": "x"}, "status": "accepted"}
    return of("Appointment", **{"status": "booked", "participant": [who], **TIMES, **members})


def event(**members: Any) -> Json:
    return of(
        "AuditEvent", type={"code": "rest"}, recorded="2026-11-24T10:00:00Z",
        agent=[{"requestor": True}], source={"observer": {"display": "x"}}, entity=[members],
    )  # fmt: skip


def bundle(type: str, *entries: Json, **members: Any) -> Json:
    return of("Bundle", type=type, **({"entry": list(entries)} if entries else {}), **members)


def condition(**members: Any) -> Json:
    return of("Condition", subject={"display": "x"}, **members)


def consent(**members: Any) -> Json:
    return of(
        "Consent",
        **{
            "status": "active",
            "scope": concept("treatment"),
            "category": [concept("x")],
            "patient": {"display": "x"},
            **members,
        },
    )


def composition(**section: Any) -> Json:
    return of(
        "Composition", status="final", type=concept("x"), date="2026", title="x",
        author=[{"display": "x"}], section=[section],
    )  # fmt: skip


def a_list(mode: str, entry: Json | None = None, **members: Any) -> Json:
    entries = {} if entry is None else {"entry": [{"item": {"display": "x"}, **entry}]}
    return of("List", status="current", mode=mode, **entries, **members)


def observation(**members: Any) -> Json:
    return of("Observation", status="final", code=concept("a"), **members)


def order(**members: Any) -> Json:
    return of(
        "ServiceRequest", status="active", intent="order", subject={"display": "x"}, **members
    )


def parameter(**members: Any) -> Json:
    return of("Parameters", parameter=[{"name": "x", **members}])


def patient(**members: Any) -> Json:
    return of("Patient", **members)


def task(authored: str, modified: str) -> Json:
    return of("Task", status="draft", intent="order", authoredOn=authored, lastModified=modified)


def team(**participant: Any) -> Json:
    return of("CareTeam", participant=[{"onBehalfOf": {"display": "x"}, **participant}])


def linkage(*items: Json) -> Json:
    return of("Linkage", item=list(items))


ITEM = {"type": "source", "resource": {"display": "x"}}
TIMES = {"start": "2026-11-24T10:00:00Z", "end": "2026-11-24T10:30:00Z"}
NO_TIMES = {"start": None, "end": None}
RESOURCE = {"resource": of("Patient", active=True)}
REQUEST = {"request": {"method": "GET", "url": "Patient/1"}}
RESPONSE = {"response": {"status": "200"}}
TEXT = {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'}
ALLERGY_STATUS = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
ALLERGY_VERIFICATION = "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification"
CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
DOCUMENT = {
    "identifier": {"system": "http://x", "value": "1"},
    "timestamp": "2026-11-24T10:00:00Z",
}
FIRST = {"resource": composition(text=TEXT)}


def without_nulls(resource: Json) -> Json:
    return {name: value for name, value in resource.items() if value is not None}


def allergy(clinical: str | None, verification: str) -> Json:
    status = {} if clinical is None else {"clinicalStatus": concept(clinical, ALLERGY_STATUS)}
    return of(
        "AllergyIntolerance", patient={"display": "x"},
        verificationStatus=concept(verification, ALLERGY_VERIFICATION), **status,
    )  # fmt: skip


# key, keeps it, breaks it: typed from the resource pages of R4.
ROWS: list[tuple[str, Json, Json]] = [
    ("att-1", patient(photo=[{"data": "QQ==", "contentType": "image/png"}]),
              patient(photo=[{"data": "QQ=="}])),
    ("cpt-2", patient(telecom=[{"system": "phone", "value": "1"}]),
              patient(telecom=[{"value": "1"}])),
    ("ext-1", patient(extension=[{"url": "x", "valueCode": "a"}]),
              patient(extension=[{"url": "x"}])),
    ("per-1", patient(name=[{"text": "x", "period": {"start": "2026", "end": "2026-01"}}]),
              patient(name=[{"text": "x", "period": {"start": "2027", "end": "2026-12-31"}}])),
    ("qty-3", order(quantityQuantity={"value": 1, "code": "a", "system": "http://x"}),
              order(quantityQuantity={"value": 1, "code": "a"})),
    ("rng-2", order(quantityRange={"low": {"value": 1}, "high": {"value": 1}}),
              order(quantityRange={"low": {"value": 2}, "high": {"value": 1}})),
    ("rat-1", order(quantityRatio={"numerator": {"value": 1}, "denominator": {"value": 2}}),
              order(quantityRatio={"numerator": {"value": 1}})),
    ("tim-1", order(occurrenceTiming={"repeat": {"duration": 1, "durationUnit": "h"}}),
              order(occurrenceTiming={"repeat": {"duration": 1}})),
    ("tim-2", order(occurrenceTiming={"repeat": {"period": 1, "periodUnit": "h"}}),
              order(occurrenceTiming={"repeat": {"period": 1}})),
    ("ait-1", allergy("active", "confirmed"), allergy(None, "confirmed")),
    ("ait-2", allergy(None, "entered-in-error"), allergy("active", "entered-in-error")),
    ("app-1", appointment(participant=[{"type": [concept("x")], "status": "accepted"}]),
              appointment(participant=[{"status": "accepted"}])),
    ("app-2", appointment(), without_nulls(appointment(end=None, status="proposed"))),
    ("app-3", without_nulls(appointment(**NO_TIMES, status="waitlist")),
              without_nulls(appointment(**NO_TIMES))),
    ("app-4", appointment(status="noshow", cancelationReason=concept("x")),
              appointment(cancelationReason=concept("x"))),
    ("sev-1", event(name="x"), event(name="x", query="QQ==")),
    ("bdl-1", bundle("searchset", total=0), bundle("collection", total=0)),
    ("bdl-2", bundle("searchset", {**RESOURCE, "search": {"mode": "match"}}),
              bundle("collection", {**RESOURCE, "search": {"mode": "match"}})),
    ("bdl-3", bundle("transaction", {**RESOURCE, **REQUEST}), bundle("transaction", RESOURCE)),
    ("bdl-3", bundle("collection", RESOURCE), bundle("searchset", {**RESOURCE, **REQUEST})),
    ("bdl-4", bundle("batch-response", RESPONSE), bundle("batch", {**REQUEST, **RESPONSE})),
    ("bdl-4", bundle("history", {**RESOURCE, **REQUEST, **RESPONSE}),
              bundle("history", {**RESOURCE, **REQUEST})),
    ("bdl-5", bundle("collection", {"fullUrl": "urn:x", **RESOURCE}),
              bundle("collection", {"fullUrl": "urn:x"})),
    ("bdl-7", bundle("collection", {"fullUrl": "urn:x", **RESOURCE},
                                  {"fullUrl": "urn:y", **RESOURCE}),
              bundle("collection", {"fullUrl": "urn:x", **RESOURCE},
                                   {"fullUrl": "urn:x", **RESOURCE})),
    ("bdl-8", bundle("collection", {"fullUrl": "http://x/Patient/1", **RESOURCE}),
              bundle("collection", {"fullUrl": "http://x/Patient/1/_history/1", **RESOURCE})),
    ("bdl-9", bundle("document", FIRST, **DOCUMENT),
              bundle("document", FIRST, timestamp=DOCUMENT["timestamp"])),
    ("bdl-10", bundle("document", FIRST, **DOCUMENT),
               bundle("document", FIRST, identifier=DOCUMENT["identifier"])),
    ("bdl-11", bundle("document", FIRST, **DOCUMENT), bundle("document", RESOURCE, **DOCUMENT)),
    ("bdl-12", bundle("message", {"resource": of("MessageHeader", eventUri="urn:x",
                                                 source={"endpoint": "urn:x"})}),
               bundle("message", RESOURCE)),
    ("cmp-1", composition(text=TEXT), composition(title="x")),
    ("cmp-2", composition(text=TEXT, emptyReason=concept("x")),
              composition(entry=[{"display": "x"}], emptyReason=concept("x"))),
    ("con-1", condition(stage=[{"summary": concept("x")}]),
              condition(stage=[{"type": concept("x")}])),
    ("con-2", condition(evidence=[{"detail": [{"display": "x"}]}]),
              condition(evidence=[{"extension": [{"url": "x", "valueCode": "a"}]}])),
    ("con-4", condition(abatementString="x", clinicalStatus=concept("resolved", CLINICAL)),
              condition(abatementString="x", clinicalStatus=concept("active", CLINICAL))),
    ("con-5", condition(verificationStatus=concept("entered-in-error", VERIFICATION)),
              condition(verificationStatus=concept("entered-in-error", VERIFICATION),
                        clinicalStatus=concept("active", CLINICAL))),
    ("ppc-1", consent(policyRule=concept("x")), consent()),
    ("ppc-2", consent(policyRule=concept("x")),
              without_nulls(consent(policyRule=concept("x"), patient=None))),
    ("grp-1", of("Group", type="person", actual=True, member=[{"entity": {"display": "x"}}]),
              of("Group", type="person", actual=False, member=[{"entity": {"display": "x"}}])),
    ("lst-1", a_list("working", emptyReason=concept("x")),
              a_list("working", {}, emptyReason=concept("x"))),
    ("lst-2", a_list("changes", {"deleted": True}), a_list("working", {"deleted": True})),
    ("lst-3", a_list("working", {"date": "2026"}), a_list("snapshot", {"date": "2026"})),
    ("obs-3", observation(referenceRange=[{"text": "x"}]),
              observation(referenceRange=[{"type": concept("x")}])),
    ("obs-6", observation(dataAbsentReason=concept("x")),
              observation(dataAbsentReason=concept("x"), valueString="x")),
    ("obs-7", observation(valueString="x", component=[{"code": concept("b"), "valueString": "x"}]),
              observation(valueString="x", component=[{"code": concept("a"), "valueString": "x"}])),
    ("org-1", of("Organization", name="x"), of("Organization", active=True)),
    ("org-2", of("Organization", name="x", address=[{"use": "work"}]),
              of("Organization", name="x", address=[{"use": "home"}])),
    ("org-3", of("Organization", name="x", telecom=[{"use": "work"}]),
              of("Organization", name="x", telecom=[{"use": "home"}])),
    ("inv-1", parameter(valueString="x"), parameter(valueString="x", **RESOURCE)),
    ("inv-1", parameter(part=[{"name": "y", "valueCode": "z"}]), parameter()),
    ("pat-1", patient(contact=[{"name": {"text": "x"}}]), patient(contact=[{"gender": "other"}])),
    ("prr-1", order(orderDetail=[concept("x")], code=concept("x")),
              order(orderDetail=[concept("x")])),
    ("inv-1", task("2026-11-24T10:00:00Z", "2026-11-24T11:00:00+01:00"),
              task("2026-11-24T10:00:00Z", "2026-11-24T10:59:59+01:00")),
    ("ctm-1", team(member={"reference": "Practitioner/1"}),
              team(member={"reference": "Patient/1"})),
    ("lnk-1", linkage(ITEM, ITEM), linkage(ITEM)),
    *DATATYPES,
    *DEFINITIONS,
]  # fmt: skip


@pytest.mark.standard("FHIR invariants")
@pytest.mark.parametrize(("key", "keeps", "breaks"), ROWS, ids=[row[0] for row in ROWS])
def test_an_invariant_is_told_when_broken_and_only_then(
    key: str, keeps: Json, breaks: Json
) -> None:
    assert check(keeps) == []
    assert [issue.text.partition(":")[0] for issue in check(breaks)] == [key]


def test_every_invariant_of_the_table_is_tested() -> None:
    assert {row.key for rows in INVARIANTS.values() for row in rows} == {key for key, _, _ in ROWS}


@pytest.mark.parametrize(
    ("start", "end", "ordered"),
    [
        ("2026", "2026", True),
        ("2026-11-24", "2026", True),
        ("2026-12", "2026", True),
        ("2027-01-01", "2026", False),
        ("2026-12-02", "2026-12-01", False),
        ("2024-02-29", "2024-02", True),
        ("2026-12-31", "2026-12", True),
        ("2026-11-25T01:00:00Z", "2026-11-24", True),
        ("2026-11-26T10:00:00Z", "2026-11-24", False),
        ("2026-11-24", "2026-11-23T12:00:00Z", True),
        ("2026-11-24T10:00:00.2Z", "2026-11-24T10:00:00.10Z", False),
        ("2026-11-24T10:00:00.1234567891Z", "2026-11-24T10:00:01Z", True),
        ("2026-11-24T23:59:60Z", "2026-11-25T00:00:00Z", True),
        ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", True),
        ("9999", "9999-12", True),
    ],
)
def test_dates_are_compared_as_precisely_as_they_are(start: str, end: str, ordered: bool) -> None:
    assert is_in_order(start, end) is ordered
