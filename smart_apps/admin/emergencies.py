"""Emergency accesses: those that nobody has looked at yet, and the form that closes one.

The rule is `resources.emergency_review`: an auditor of the organisation that keeps the record, or
of the one whose clinician asked, closes it once, with a note. docs/governance.md.
"""

from collections.abc import Mapping
from typing import Any, Final

from fhir_server.search import query as queries
from resources import codes, content
from resources.content import written_instant
from resources.errors import Refusal
from smart_apps.admin import markup
from smart_apps.admin.desk import AUDITOR, OFFICER, Answer, Desk, Onward, Page, Place, Visit
from smart_apps.admin.markup import Markup, joined

ADDRESS: Final = "/admin/emergencies"
MOST: Final = 200
OPEN: Final = "requested,received,accepted,in-progress"
CLOSINGS: Final = {"completed": "It was right", "rejected": "It was not right"}


async def waiting(desk: Desk, visit: Visit) -> list[Mapping[str, Any]]:
    """Give the reviews that are open, the oldest first."""
    asked = [
        ("code", codes.REVIEW_EMERGENCY_ACCESS.token),
        ("status", OPEN),
        ("_sort", "authored-on"),
        ("_count", str(MOST)),
    ]
    query = queries.parse("Task", asked, strict=True)
    found = await desk.store.search(visit.context("search-type"), query)
    return [one.json for one in found.matches]


async def shows(desk: Desk, visit: Visit) -> Answer:
    """List them."""
    return await _page(desk, visit)


async def closes(desk: Desk, visit: Visit) -> Answer:
    """Close one, with a note."""
    status, note = visit.field("status"), visit.field("note")
    if status not in CLOSINGS:
        return await _page(desk, visit, "Say whether it was right.")
    context = visit.context("update")
    try:
        async with desk.store.begin(context) as work:
            row = await work.read("Task", visit.field("id"))
            said = {
                "authorReference": {"reference": visit.user.subject},
                "time": written_instant(context.instant),
                "text": note,
            }
            changed = {**row.json, "status": status}
            if note:
                changed["note"] = [*row.json.get("note", ()), said]
            await work.update("Task", row.id, content.made(changed), row.version)
    except Refusal as refusal:
        return await _page(desk, visit, refusal.reason)
    return Onward(ADDRESS)


async def _page(desk: Desk, visit: Visit, problem: str = "") -> Answer:
    tasks = await waiting(desk, visit)
    people = [str(one.get("requester", {}).get("reference", "")) for one in tasks]
    names = await desk.names(people)
    shown = [
        _shown(visit, task, names.get(who, who)) for task, who in zip(tasks, people, strict=True)
    ]
    body = joined(*shown) if shown else markup.element("p", "There is nothing to be looked at.")
    return Page("Emergency accesses", body, problem, 400 if problem else 200)


def _shown(visit: Visit, task: Mapping[str, Any], who: str) -> Markup:
    opened = str(task.get("authoredOn", "")).replace("T", " ")[:16]
    told = {
        "Opened": f"{opened} UTC",
        "By": who,
        "Patient": str(task.get("for", {}).get("reference", "")),
        "Why": _reason(task),
    }
    rows = joined(
        *(
            joined(markup.element("dt", term), markup.element("dd", is_))
            for term, is_ in told.items()
        )
    )
    may = visit.user.role == AUDITOR
    closing = _closing(visit, task) if may else markup.element("p", "An auditor closes it.")
    heading = markup.element("h2", f"{who}, {opened}")
    return markup.element("article", joined(heading, markup.element("dl", rows), closing))


def _reason(task: Mapping[str, Any]) -> str:
    reason = task.get("reasonCode", {})
    shown = [str(one.get("display", "")) for one in reason.get("coding", ())]
    return ": ".join(filter(None, [*shown[:1], str(reason.get("text", ""))]))


def _closing(visit: Visit, task: Mapping[str, Any]) -> Markup:
    id = str(task["id"])
    buttons = joined(
        *(
            markup.button(words, "status", code, class_="other" if code == "rejected" else None)
            for code, words in CLOSINGS.items()
        )
    )
    label = markup.element("label", "Note", for_=f"note-{id}")
    note = markup.element(
        "textarea", id=f"note-{id}", name="note", rows="2", required=True, maxlength="2000"
    )
    return markup.form(ADDRESS, visit.token, markup.hidden({"id": id}), label, note, buttons)


PLACES: Final = (
    Place(ADDRESS, "Emergency accesses", frozenset({AUDITOR, OFFICER}), shows, closes),
)
