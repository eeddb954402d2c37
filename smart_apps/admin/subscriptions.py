"""The subscriptions of an organisation: how each is, and what an administrator does about one.

What is shown is what `subscriptions.oversight` shows: no headers, no payload, no patient. Buttons
have events sent again, ask anew for what is in error, or stop; docs/adr/0038.
"""

from typing import Final

from fhir_server.audit import ledger
from fhir_server.audit.ledger import Entry
from fhir_server.context import now
from resources.errors import Invalid, NotFound, Refusal
from smart_apps.admin import markup
from smart_apps.admin.desk import ADMINISTRATOR, Answer, Desk, Onward, Page, Place, Visit
from smart_apps.admin.markup import Markup, joined, link
from smart_apps.admin.times import lasting, moment
from subscriptions import oversight
from subscriptions.oversight import MOST, Seen

ADDRESS: Final = "/admin/subscriptions"
TITLE: Final = "Subscriptions"

STATUSES: Final = {
    "": "All",
    "error": "In error",
    "requested": "Requested: not answered yet",
    "active": "Active",
    "off": "Off",
}
CHANNELS: Final = {"rest-hook": "Rest-hook", "websocket": "WebSocket", "email": "E-mail"}


async def listed(desk: Desk, visit: Visit) -> Answer:
    """List them, first those that nothing is sent to, then those that wait longest."""
    status = visit.field("status") if visit.field("status") in STATUSES else ""
    found = await oversight.seen(desk.database, visit.user.organization, status=status)
    names = await desk.names([one.maker for one in found])
    rows = [_row(one, names.get(one.maker, one.maker)) for one in found]
    asking = joined(
        markup.element("div", markup.choice("Status", "status", STATUSES, status)),
        markup.button("Show"),
    )
    headings = (
        "Subscription", "Status", "Waiting", "Oldest waits", "Last error", "Attempts",
        "Last delivery", "Of what", "Where", "Made by",
    )  # fmt: skip
    told = f"The first {MOST} are shown." if len(found) == MOST else ""
    body = joined(
        markup.element(
            "form", markup.element("div", asking, class_="side"), method="get", action=ADDRESS
        ),
        markup.table("Subscriptions of your organisation", headings, rows),
        markup.element("p", told) if told else "",
    )
    return Page(TITLE, body)


async def shows(desk: Desk, visit: Visit) -> Answer:
    """Show one, and what may be done about it."""
    return await _one(desk, visit)


async def acts(desk: Desk, visit: Visit) -> Answer:
    """Do what a button says."""
    id, wish, place = visit.place["id"], visit.field("do"), visit.user.organization
    try:
        if wish == "resend":
            number = _number(visit.field("number"))
            note = _note(visit, id, f"events sent again from {number}")
            await oversight.resend(desk.database, desk.ledger, place, id, number, note)
        elif wish == "activate":
            note = _note(visit, id, "subscription asked for anew")
            await oversight.activate(desk.database, desk.store, place, id, note)
        elif wish == "stop":
            if visit.field("sure") != "yes":
                raise Invalid("Tick the box to say that it is to be stopped.")
            note = _note(visit, id, "subscription stopped")
            await oversight.stop(desk.database, desk.store, place, id, note)
    except NotFound:
        raise
    except Refusal as refusal:
        return await _one(desk, visit, refusal.reason)
    return Onward(f"{ADDRESS}/{id}")


def _note(visit: Visit, id: str, what: str) -> Entry:
    return ledger.entry(visit.context("operation"), type="Subscription", id=id, detail=what)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise Invalid("Give the number of an event.")
    return int(text)


async def _one(desk: Desk, visit: Visit, problem: str = "") -> Page:
    found = await oversight.one(desk.database, visit.user.organization, visit.place["id"])
    names = await desk.names([found.maker])
    told = {
        "Status": found.status,
        "Of what": found.about,
        "Where": _where(found),
        "Made by": names.get(found.maker, found.maker),
        "By the client": found.client,
        "Events so far": f"{found.events:,}",
        "Events waiting": f"{found.waiting:,}",
        "The oldest waits": _since(found.oldest) or "nothing waits",
        "Last delivery": moment(found.last_sent) or "none yet",
        "Attempts that failed": str(found.attempts),
        "Next attempt": moment(found.due if _is_tried(found) else None) or "none",
        "Last error": found.last_error or "none",
        "Ends": moment(found.ending) or "when it is stopped",
    }
    rows = joined(
        *(
            joined(markup.element("dt", term), markup.element("dd", is_))
            for term, is_ in told.items()
        )
    )
    body = joined(
        markup.element("dl", rows),
        _activating(visit, found) if found.status == "error" else "",
        _resending(visit, found) if _is_sent(found) else "",
        _stopping(visit, found) if found.status != "off" else "",
        markup.element("p", link(ADDRESS, "To all subscriptions")),
    )
    return Page(f"Subscription {found.id}", body, problem, 400 if problem else 200)


def _is_tried(found: Seen) -> bool:
    return found.status == "requested" or (found.status == "active" and found.waiting > 0)


def _is_sent(found: Seen) -> bool:
    return found.status == "active" and found.channel != "websocket" and found.events > 0


def _activating(visit: Visit, found: Seen) -> Markup:
    said = "What has waited is sent first. It stays whose it is: only what they may see is sent."
    return joined(
        markup.element("h2", "Ask for it anew"),
        markup.element("p", said),
        _form(visit, found, markup.button("Activate again", "do", "activate")),
    )


def _resending(visit: Visit, found: Seen) -> Markup:
    field = markup.field(
        "From the event with the number", "number", str(max(found.events - found.waiting, 1)),
        kind="number", min="1", max=str(found.events), required=True,
        hint=f"From 1 to {found.events}; later events follow it, with the numbers that they have.",
    )  # fmt: skip
    return joined(
        markup.element("h2", "Send again"),
        _form(visit, found, field, markup.button("Send again", "do", "resend")),
    )


def _stopping(visit: Visit, found: Seen) -> Markup:
    said = "Nothing more is sent. Only who made it can begin again, and misses what was between."
    return joined(
        markup.element("h2", "Stop"),
        markup.element("p", said),
        _form(
            visit,
            found,
            Markup('<p><input type="checkbox" id="sure" name="sure" value="yes">'),
            Markup('<label class="beside" for="sure">Yes, stop this subscription</label></p>'),
            markup.button("Stop", "do", "stop", class_="other"),
        ),
    )


def _form(visit: Visit, found: Seen, *inside: object) -> Markup:
    return markup.form(f"{ADDRESS}/{found.id}", visit.token, *inside)


def _row(one: Seen, maker: str) -> tuple[object, ...]:
    return (
        link(f"{ADDRESS}/{one.id}", markup.element("span", one.id, class_="code long")),
        one.status,
        one.waiting,
        markup.element("span", _since(one.oldest), class_="when"),
        markup.element("span", one.last_error, class_="long" if one.last_error else None),
        one.attempts,
        markup.element("span", moment(one.last_sent), class_="when"),
        markup.element("span", one.about, class_="long"),
        _where(one),
        maker,
    )


def _where(one: Seen) -> str:
    channel = CHANNELS.get(one.channel, one.channel)
    return f"{channel}, {one.host}" if one.host else channel


def _since(instant: int | None) -> str:
    return "" if instant is None else lasting(now() - instant)


PLACES: Final = (
    Place(ADDRESS, TITLE, frozenset({ADMINISTRATOR}), listed),
    Place(f"{ADDRESS}/{{id}}", "", frozenset({ADMINISTRATOR}), shows, acts),
)
