"""What the files of pathways may name: the parties of a request, and values for its steps.

References
----------
* docs/representation.md, "Identifiers" and "Steps"
"""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from resources import codes, elements, identifiers
from resources.agreement import Agreement
from resources.request_state import Held, RequestState

Json = Mapping[str, Any]
NAMES: Final = uuid.uuid5(uuid.NAMESPACE_URL, codes.BASE)
"""Namespace of every name that follows from a request (RFC 9562, version 5)."""

UNMISTAKABLE: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U


class Scene(NamedTuple):
    """What a value may look at."""

    state: RequestState
    agreement: Agreement
    instant: str
    match: Held


def value_of(name: str, scene: Scene) -> Any:
    """What an expression of a dynamicValue means here; None leaves the element out.

    Examples
    --------
    >>> value_of("'unread'", None)
    'unread'
    """
    return name.strip("'") if name.startswith("'") else VALUES[name.removeprefix("%")](scene)


def _reference(reference: str | None) -> Json | None:
    return {"reference": reference} if reference else None


def _first(scene: Scene, type_: str, *statuses: str) -> Held | None:
    return next(
        (one for one in scene.state.of_type(type_) if one.json.get("status") in statuses), None
    )


def _slot(scene: Scene) -> Held | None:
    """The appointment that stands: the earliest that was booked."""
    booked = [
        one
        for one in scene.state.of_type("Appointment")
        if one.json.get("status") in ("booked", "arrived", "checked-in", "fulfilled")
    ]
    return min(booked, key=lambda one: one.json.get("start", ""), default=None)


def _period(scene: Scene) -> Json | None:
    slot = _slot(scene)
    found = {key: slot.json[key] for key in ("start", "end") if key in slot.json} if slot else {}
    return found or None


def _place(scene: Scene) -> Json | None:
    slot = _slot(scene)
    actors = [one.get("actor") for one in slot.json.get("participant", ())] if slot else []
    places = [one for one in elements.references(actors) if one.startswith("Location/")]
    return _reference(next(iter(places), None))


def _study(scene: Scene) -> Json | None:
    held = _first(scene, "ImagingStudy", "available")
    return _reference(held.reference if held else None)


def _report(scene: Scene) -> Json | None:
    held = _first(scene, "DiagnosticReport", "final", "amended", "corrected", "appended")
    return _reference(held.versioned if held else None)


def _organization(scene: Scene) -> Json | None:
    """The organisation that issued what was matched, else the lead."""
    performers = elements.references(scene.match.json.get("performer"))
    named = [one for one in performers if one.startswith("Organization/")]
    return _reference(next(iter(named), scene.state.lead))


def referring(state: RequestState) -> Json | None:
    """The requester, if an organisation answers for them.

    A bare Practitioner acts for no organisation in particular (`fhir_server.access.relationship`);
    the lead then has to see to it that the report is acknowledged.
    """
    requester: Json = state.request.json.get("requester", {})
    is_person = str(requester.get("reference", "")).startswith(("Practitioner/", "Patient/"))
    return None if is_person or not requester else requester


def _rejection(scene: Scene) -> list[Json]:
    reason = scene.match.json.get("statusReason")
    return [
        {"url": codes.REQUEST_STATUS_REASON, "valueCodeableConcept": reason},
    ] if reason else []  # fmt: skip


def _accession(scene: Scene) -> list[Json] | None:
    if not scene.state.lead_ods:
        return None
    number = accession_number(scene.state.request.reference)
    identifier = identifiers.accession(number, scene.state.lead_ods)
    return [{**identifier, "assigner": _reference(scene.state.lead)}]


def _planned_study(scene: Scene) -> Json:
    """The study as it stands before there is an image: its UID is the worklist's."""
    request = scene.state.request
    study: dict[str, Any] = {
        "identifier": [
            identifiers.study_uid(planned_study_uid(request.reference)),
            *(
                one
                for one in request.json.get("identifier", ())
                if codes.has(one.get("type"), codes.ACCESSION_NUMBER_TYPE)
            ),
        ],
        "status": "registered",
        "subject": request.json["subject"],
        "basedOn": [{"reference": request.reference}],
        "numberOfSeries": 0,
        "numberOfInstances": 0,
        "extension": [
            {"url": codes.REPORTING_STATUS_EXTENSION, "valueCode": codes.UNREPORTED.code},
            {"url": codes.NUMBER_OF_IMAGES, "valueUnsignedInt": 0},
        ],
    }
    if "code" in request.json:
        study["procedureCode"] = [request.json["code"]]
        study["description"] = elements.words(request.json["code"])
    if "requester" in request.json:
        study["referrer"] = request.json["requester"]
    return study


def recipients(scene: Scene) -> tuple[Json, ...]:
    """Whom a report is for: each acknowledges it (R009.2, R010)."""
    named = scene.state.recipients.get(scene.match.reference, ())
    first = PARTIES["referring"](scene)
    return tuple({"reference": one} for one in named) or ((first,) if first else ())


PARTIES: Final[Mapping[str, Callable[[Scene], Json | None]]] = {
    "lead": lambda scene: _reference(scene.state.lead),
    "referring": lambda scene: referring(scene.state) or _reference(scene.state.lead),
    "recipients": lambda scene: recipients(scene)[0],
}
"""Who plays a part in a request; of several recipients the referrer."""

VALUES: Final[Mapping[str, Callable[[Scene], Any]]] = {
    "request": lambda scene: _reference(scene.state.request.reference),
    "request.version": lambda scene: _reference(scene.state.request.versioned),
    "request.requester": lambda scene: scene.state.request.json.get("requester"),
    "lead": PARTIES["lead"],
    "study": _study,
    "report.version": _report,
    "match.version": lambda scene: _reference(scene.match.versioned),
    "match.organization": _organization,
    "slot": _period,
    "slot.location": _place,
    "accession": _accession,
    "planned-study": _planned_study,
    "rejection": _rejection,
}
"""What a pathway file may name behind a ``%``."""


def accession_number(request: str) -> str:
    """The accession number of a request: 65 bits in 13 characters, of the 16 that SH allows.

    Examples
    --------
    >>> len(accession_number("ServiceRequest/1"))
    13
    """
    number = uuid.uuid5(NAMES, request + "/accession").int
    return "".join(UNMISTAKABLE[(number >> shift) & 31] for shift in range(60, -5, -5))


def planned_study_uid(request: str) -> str:
    """The Study Instance UID that the worklist gives for a request (PS3.5 Annex B.2, UUID)."""
    return f"2.25.{uuid.uuid5(NAMES, request + '/study').int}"


def name_for(request: Held, *parts: object) -> str:
    """The id of what is made for a request: it follows from the request and from what it is."""
    return str(uuid.uuid5(NAMES, "/".join([request.reference, *map(str, parts)])))
