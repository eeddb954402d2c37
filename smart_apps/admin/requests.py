"""Applications that ask to be clients, and the administrator who decides (RFC 7591).

Whoever approves one lets it act for their own organisation, for what it asked or for less. Nothing
that an application says of itself is believed: it is shown as it was said.
"""

from typing import Final

from resources.content import written_instant
from resources.errors import Refusal
from smart_apps.admin import markup
from smart_apps.admin.desk import ADMINISTRATOR, Answer, Desk, Onward, Page, Place, Visit
from smart_apps.admin.markup import Markup, joined
from smart_apps.authorization import registration
from smart_apps.authorization.metadata import Registration

ADDRESS: Final = "/admin/requests"
TITLE: Final = "Requests"


async def shows(desk: Desk, visit: Visit) -> Answer:
    """List what waits, the oldest first."""
    return await _page(desk, visit)


async def decides(desk: Desk, visit: Visit) -> Answer:
    """Approve one, or forget it."""
    id, wish = visit.field("id"), visit.field("do")
    try:
        if wish == "approve":
            async with desk.change(visit, f"client {id}", "client approved") as change:
                await registration.approve(
                    change,
                    id,
                    visit.user.organization,
                    " ".join(visit.field("scope").split()),
                    visit.field("launch") or None,
                )
        elif wish == "refuse":
            async with desk.change(visit, f"client {id}", "client refused") as change:
                await registration.refuse(change, id)
    except Refusal as refusal:
        return await _page(desk, visit, refusal.reason)
    return Onward(ADDRESS)


async def _page(desk: Desk, visit: Visit, problem: str = "") -> Answer:
    waiting = await registration.waiting(desk.database)
    shown = joined(*(_shown(visit, each) for each in waiting))
    body = shown if waiting else markup.element("p", "No application asks to be a client.")
    return Page(TITLE, body, problem, 400 if problem else 200)


def _shown(visit: Visit, asked: Registration) -> Markup:
    told = {
        "Client id": asked.id,
        "Asked": f"{written_instant(asked.instant).replace('T', ' ')[:16]} UTC",
        "Kind": asked.kind,
        "Redirect URIs": ", ".join(asked.redirect_uris) or "none",
    }
    if asked.jwks_uri is not None:
        told["Publishes its keys at"] = asked.jwks_uri
    rows = joined(
        *(
            joined(markup.element("dt", term), markup.element("dd", each))
            for term, each in told.items()
        )
    )
    scope, launch = f"scope-{asked.id}", f"launch-{asked.id}"
    fields = (
        markup.hidden({"id": asked.id}),
        markup.element("label", "May ask for", for_=scope),
        markup.element("textarea", asked.scope, id=scope, name="scope", rows="3", required=True),
        markup.element("label", "Launch URL, if it can be launched", for_=launch),
        Markup(f'<input type="url" id="{markup.shown(launch)}" name="launch">'),
    )
    buttons = (
        markup.button("Let it act for my organisation", "do", "approve"),
        markup.button("Refuse", "do", "refuse", class_="other"),
    )
    heading = markup.element("h2", asked.name or asked.id)
    asking = markup.form(ADDRESS, visit.token, *fields, *buttons)
    return markup.element("article", joined(heading, markup.element("dl", rows), asking))


PLACES: Final = (Place(ADDRESS, TITLE, frozenset({ADMINISTRATOR}), shows, decides),)
