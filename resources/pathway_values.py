"""What the files of pathways may name: the parties of a request, and values for its steps.

References
----------
* docs/representation.md, "Identifiers" and "Steps"
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from resources import codes, elements, identifiers
from resources.agreement import Agreement
from resources.request_names import accession_number, planned_study_uid
from resources.request_state import Held, RequestState

Json = Mapping[str, Any]
NOTHING: Final = object()
"""The value that takes an element away."""


class Scene(NamedTuple):
    """What a value may look at."""

    state: RequestState
    agreement: Agreement
    instant: str
    match: Held
    code: Json | None = None


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
    own = [*scene.state.of_type("ImagingStudy"), *scene.state.of_type("ImagingStudy", "parent")]
    held = next((one for one in own if one.json.get("status") == "available"), None)
    return _reference(held.reference if held else None)


def _report(scene: Scene) -> Json | None:
    held = _first(scene, "DiagnosticReport", "final", "amended", "corrected", "appended")
    return _reference(held.versioned if held else None)


def _organization(scene: Scene) -> Json | None:
    """The organisation that issued what was matched, else the lead, who answers for others."""
    performers = elements.references(scene.match.json.get("performer"))
    named = [one for one in performers if one.startswith("Organization/")]
    onward = scene.state.of_type("ServiceRequest", "onward")
    others = {one for each in onward for one in elements.references(each.json.get("performer"))}
    own = [one for one in named if one not in others]
    return _reference(next(iter(own), scene.state.lead))


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
    return _reason(reason)


def _withdrawal(scene: Scene) -> list[Json]:
    """Why the request that this one serves was ended."""
    for parent in scene.state.of_type("ServiceRequest", "parent"):
        reason = elements.extension_value(parent.json, codes.REQUEST_STATUS_REASON)
        return _reason(reason or {"text": "The request was withdrawn."})
    return []


def _ended(scene: Scene) -> Json:
    """Why the last of the onward requests ended."""
    ended = [
        one.json
        for one in scene.state.of_type("ServiceRequest", "onward")
        if one.json.get("status") != "active"
    ]
    last = max(ended, key=lambda one: (_changed(one), one["id"]), default={})
    reason = elements.extension_value(last, codes.REQUEST_STATUS_REASON)
    return dict(reason or {"text": "It was taken back from the other organisation."})


def _changed(json: Json) -> str:
    return str(json.get("meta", {}).get("lastUpdated", ""))


def _reason(reason: Json | None) -> list[Json]:
    return [
        {"url": codes.REQUEST_STATUS_REASON, "valueCodeableConcept": reason},
    ] if reason else []  # fmt: skip


def _accession(scene: Scene) -> list[Json] | None:
    if not scene.state.lead_ods:
        return None
    number = accession_number(scene.state.request.reference)
    identifier = identifiers.accession(number, scene.state.lead_ods)
    return [{**identifier, "assigner": _reference(scene.state.performer)}]


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
    requester = request.json.get("requester", {})
    if str(requester.get("reference", "")).startswith(("Practitioner/", "PractitionerRole/")):
        study["referrer"] = requester  # R4 takes nobody else there
    return study


def recipients(scene: Scene) -> tuple[Json, ...]:
    """Whom a report is for: each acknowledges it (R009.2, R010)."""
    named = scene.state.recipients.get(scene.match.reference, ())
    first = PARTIES["referring"](scene)
    return tuple({"reference": one} for one in named) or ((first,) if first else ())


def _parent_step(scene: Scene) -> list[Json] | None:
    """The steps that the Task which is made is a part of: of the request that this one serves."""
    code = elements.code_in(scene.code, codes.IMAGING_STEP)
    steps = [
        one
        for one in scene.state.of_type("Task", "parent")
        if elements.code_in(one.json.get("code"), codes.IMAGING_STEP) == code
        and one.json.get("status") != "entered-in-error"
    ]
    return [{"reference": one.reference} for one in steps] or None


def _parent_version(scene: Scene) -> Json | None:
    parent = scene.state.of_type("ServiceRequest", "parent")
    return _reference(parent[0].versioned if parent else None)


def _agreements(scene: Scene) -> list[Json]:
    """The agreements that the request is done under, at their versions: its terms for ever."""
    return [{"reference": one.versioned} for one in scene.state.of_type("OrganizationAffiliation")]


def _partner(part: str) -> Callable[[Scene], Json | None]:
    """Who plays a part for the lead by agreement; the lead itself where it has agreed nothing."""

    def found(scene: Scene) -> Json | None:
        partners = scene.agreement.partners.get(part, ())
        return _reference(partners[0].organization if partners else scene.state.lead)

    return found


PARTIES: Final[Mapping[str, Callable[[Scene], Json | None]]] = {
    "lead": lambda scene: _reference(scene.state.lead),
    "provider": lambda scene: _reference(scene.state.performer),
    "acquiring": _partner("acquiring"),
    "reporting": _partner("reporting"),
    "reviewing": _partner("reviewing"),
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
    "studies": lambda scene: [
        {"reference": held.reference}
        for held in scene.state.of_type("ImagingStudy")
        if held.json.get("status") == "available"
    ],
    "report.version": _report,
    "match.version": lambda scene: _reference(scene.match.versioned),
    "match.organization": _organization,
    "slot": _period,
    "slot.location": _place,
    "accession": _accession,
    "planned-study": _planned_study,
    "rejection": _rejection,
    "nothing": lambda _: NOTHING,
    "agreements": _agreements,
    "parent.step": _parent_step,
    "parent.version": _parent_version,
    "parent.withdrawal": _withdrawal,
    "onward.reason": _ended,
    "request.based": lambda scene: [{"reference": scene.state.request.reference}],
    "patient": lambda scene: elements.references(scene.state.request.json.get("subject")),
    "clinical": lambda scene: scene.state.named.get("clinical", ()),
    "priors": lambda scene: scene.state.named.get("priors", ()),
}
"""What a pathway file may name behind a ``%``."""
