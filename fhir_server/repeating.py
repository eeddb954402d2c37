"""Repeating: what a request would do again, among what its asker may see (G2).

The operation ServiceRequest/$check, the CDS Hooks services and the placing of a request ask the
same question here. What the asker may not search is left out, never told.

Who places a request that repeats a procedure, or one that is open, says why in the extension
`override-reason`; the Provenance of the request keeps it. Without it the request is refused, unless
the operator has chosen only to warn. A similar procedure is told of and refuses nothing.

References
----------
* `resources.repeats`; docs/representation.md, "Requests that repeat others"
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from fhir_server.naming import local, normal, split
from fhir_server.search.query import Query, parse
from fhir_server.search.stored import Stored
from fhir_server.store.unit_of_work import Work
from resources import codes, elements, priors, repeats
from resources.content import Content, written_instant
from resources.errors import Conflict, Forbidden, Gone, NotFound
from resources.repeats import OPEN, Repeat
from resources.request_state import begins

Json = Mapping[str, Any]
Search = Callable[[Query], Awaitable[Sequence[Stored]]]

MOST: Final = "500"
"""Of each type, the newest first."""

REFUSED: Final = frozenset({"same-procedure", "open-request"})
"""Kinds of repeat that want a reason."""

DAY: Final = 86_400_000_000
"""Microseconds."""


class Policy(NamedTuple):
    """What an operator chose.

    Parameters
    ----------
    days
        How long a study counts as recent; 0: nothing is looked for.
    wants_reason
        A request that repeats another is refused without a reason.
    """

    days: int = 90
    wants_reason: bool = True
    rules: priors.Rules = priors.DEFAULT


DEFAULT: Final = Policy()


async def found(
    search: Search, request: Json, instant: int, policy: Policy, base: str
) -> list[Repeat]:
    """Find what a request repeats, the gravest first.

    Parameters
    ----------
    search
        Searches as the asker.
    request
        The ServiceRequest, kept or not; references may be absolute.
    instant
        Now, in microseconds since 1970 UTC.
    """
    subject = local(request.get("subject", {}).get("reference", ""), base)
    if not policy.days or not subject.startswith("Patient/"):
        return []
    patient = split(subject)[1]
    since = written_instant(max(instant - policy.days * DAY, 0))
    studies = await _seen(
        search, "ImagingStudy", base,
        patient=patient, status="available", started=f"ge{since}", _sort="-started",
    )  # fmt: skip
    asked = await _seen(
        search, "ServiceRequest", base,
        patient=patient, status=",".join(sorted(OPEN)), _sort="-authored",
    )  # fmt: skip
    named = ",".join(f"ImagingStudy/{one['id']}" for one in studies[:100])
    reports = await _seen(search, "DiagnosticReport", base, imagingStudy=named) if named else []
    return repeats.repeats(request, [*studies, *asked, *reports], since, policy.rules)


async def _seen(search: Search, type: str, base: str, **criteria: str) -> list[Json]:
    pairs = [*criteria.items(), ("_count", MOST), ("_total", "none")]
    try:
        page = await search(parse(type, pairs, strict=True, own_base=base))
    except Forbidden:
        return []
    return [normal(one, base) for one in page]


def reason(request: Json) -> Json | None:
    """Why it is placed although it repeats something: a CodeableConcept, or nothing."""
    said = elements.extension_value(request, codes.OVERRIDE_REASON)
    if isinstance(said, str):
        said = {"text": said}
    if not isinstance(said, Mapping) or not elements.words(said).strip():
        return None
    return said


async def completed(work: Work, content: Content, policy: Policy, base: str) -> Content:
    """Let nobody place a request unawares that repeats another.

    Raises
    ------
    Conflict
        It repeats something and does not say why it is placed all the same.
    """
    request = content.json
    if not policy.wants_reason or work.context.principal.role == "system":
        return content
    if not begins(request) or request.get("status") != "active" or reason(request):
        return content
    if await _is_placed(work, request):
        return content
    repeated = await found(work.search, request, work.context.instant, policy, base)
    names = [
        f"{one.about['resourceType']}/{one.about['id']}" for one in repeated if one.kind in REFUSED
    ]
    if names:
        raise Conflict(
            f"The request repeats {', '.join(names)}; the extension override-reason says why it "
            "is placed all the same.",
            "ServiceRequest.code",
            "duplicate",
        )
    return content


async def _is_placed(work: Work, request: Json) -> bool:
    """Whether the request was placed before: it is changed then, not asked for again."""
    if "id" not in request:
        return False
    with work.as_server():
        try:
            before = await work.read("ServiceRequest", str(request["id"]))
        except (Gone, NotFound):
            return False
    return begins(before.json) and before.json.get("status") == "active"
