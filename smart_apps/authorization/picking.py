"""What else of a patient an application is started with: a visit, a study, a report, a list.

SMART App Launch 2.2, "Apps that launch standalone": ``launch/encounter``, and ``launch/`` with the
name of another type in small letters, perhaps with ``?role=``; what is chosen comes back as
``encounter`` or as an object of ``fhirContext``. A person chooses among what they may see, and may
go on without. What the EHR has launched the application with is not asked again.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from fhir_server.search import query
from fhir_server.store.store import Store
from resources.errors import Invalid, NotFound
from smart_apps.authorization import asking
from smart_apps.users import User

MOST: Final = 20
"""Shown, the latest first."""
NONE: Final = "-"
"""What the form says when somebody goes on without."""


class Kind(NamedTuple):
    """A type that may be chosen.

    Parameters
    ----------
    asked
        The question above the page.
    of_patient
        Whether there must be a patient first.
    when
        Elements that say when it was, the first that is there.
    what
        Elements that say what it is, all that are there.
    """

    type: str
    asked: str
    of_patient: bool
    when: tuple[str, ...]
    what: tuple[str, ...]


KINDS: Final = {
    "encounter": Kind("Encounter", "Which visit?", True, ("period",), ("type", "class")),
    "imagingstudy": Kind(
        "ImagingStudy", "Which imaging study?", True, ("started",), ("modality", "description")
    ),
    "diagnosticreport": Kind(
        "DiagnosticReport", "Which report?", True,
        ("effectiveDateTime", "effectivePeriod", "issued"), ("code", "status"),
    ),
    "task": Kind("Task", "Which task?", True, ("authoredOn", "lastModified"), ("code", "status")),
    "list": Kind("List", "Which list?", False, ("date",), ("title", "code")),
}  # fmt: skip
"""The word behind ``launch/`` -> what it stands for."""


class Pick(NamedTuple):
    """One scope that asks for something to be chosen.

    Parameters
    ----------
    field
        Its field in our forms.
    role
        The role that the scope names, which `fhirContext` repeats.
    """

    field: str
    kind: Kind
    role: str


class Question(NamedTuple):
    """What is to be asked: a pick, and rows of id, what it is and when."""

    pick: Pick
    rows: list[tuple[str, str, str]]


def picks(scope: str) -> list[Pick]:
    """List what the scopes ask to be chosen.

    Examples
    --------
    >>> [(pick.field, pick.role) for pick in picks("launch/list?role=agenda launch/encounter")]
    [('pick0', 'agenda'), ('pick1', '')]
    """
    found: list[Pick] = []
    for word in scope.split():
        name, _, narrowed = word.removeprefix("launch/").partition("?")
        if word.startswith("launch/") and name in KINDS:
            role = dict(parse_qsl(narrowed)).get("role", "")
            found.append(Pick(f"pick{len(found)}", KINDS[name], role))
    return found


def needs_patient(scope: str) -> bool:
    """Say whether something is to be chosen that a patient must be chosen for first."""
    return any(pick.kind.of_patient for pick in picks(scope))


def kept(scope: str, fields: Mapping[str, str]) -> dict[str, str]:
    """The fields of what was chosen, to be sent with the next form."""
    names = (pick.field for pick in picks(scope))
    return {name: fields[name] for name in names if name in fields}


async def pick(
    store: Store,
    user: User,
    scope: str,
    context: Mapping[str, Any],
    fields: Mapping[str, str],
    origin: str,
) -> dict[str, Any] | Question:
    """Give the context with what was chosen, or the next question.

    Raises
    ------
    NotFound
        What was chosen is not the patient's, or not to be seen.
    """
    chosen: dict[str, Any] = dict(context)
    for each in picks(scope):
        if _is_there(each, context):
            continue
        said = fields.get(each.field, "")
        if said == NONE:
            continue
        rows = await _rows(store, user, each.kind, str(context.get("patient", "")), said, origin)
        if said and not rows:
            raise NotFound("There is none such to choose.")
        if said:
            _add(chosen, each, said)
        elif rows:
            return Question(each, rows)
    return chosen


def _is_there(pick: Pick, context: Mapping[str, Any]) -> bool:
    """Say whether the EHR has given it."""
    if pick.kind.type == "Encounter":
        return "encounter" in context
    return any(
        str(other.get("reference", "")).startswith(f"{pick.kind.type}/")
        and other.get("role", "") == pick.role
        for other in context.get("fhirContext", ())
    )


def _add(context: dict[str, Any], pick: Pick, id: str) -> None:
    if pick.kind.type == "Encounter":
        context["encounter"] = id
        return
    named = {"reference": f"{pick.kind.type}/{id}"} | ({"role": pick.role} if pick.role else {})
    context["fhirContext"] = [*context.get("fhirContext", ()), named]


async def _rows(
    store: Store, user: User, kind: Kind, patient: str, id: str, origin: str
) -> list[tuple[str, str, str]]:
    """Find what the person may choose; with an id, that one alone."""
    if kind.of_patient and not patient:
        return []
    asked = [("patient", f"Patient/{patient}")] if patient else []
    asked += [("_id", id)] if id else []
    asked += [("_sort", "-_lastUpdated"), ("_count", str(MOST))]
    try:
        parsed = query.parse(kind.type, asked, strict=True)
    except Invalid:
        return []
    page = await store.search(asking.person(user, "search-type", origin), parsed)
    return [
        (
            each.id,
            ", ".join(filter(None, (_said(each.json.get(name)) for name in kind.what)))
            or f"{kind.type} {each.id}",
            next((_when(each.json[name]) for name in kind.when if name in each.json), ""),
        )
        for each in page.matches
        if id in ("", each.id)  # a list of ids, which a search takes, is no choice
    ]


def _said(element: Any) -> str:
    """Say a code, a concept or a text in words."""
    if isinstance(element, list):
        return ", ".join(dict.fromkeys(filter(None, map(_said, element))))
    if isinstance(element, dict):
        if "coding" in element or "text" in element:
            return str(element.get("text") or _said(element.get("coding", [])[:1]))
        return str(element.get("display") or element.get("code") or "")
    return str(element or "")


def _when(element: Any) -> str:
    """Say a day, from a date, an instant or a period."""
    if isinstance(element, dict):
        element = element.get("start") or element.get("end") or ""
    return str(element)[:16].replace("T", " ")
