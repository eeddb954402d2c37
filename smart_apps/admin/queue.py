"""The queue: what waits to be sent, to be matched and to be done, in numbers.

The subscriptions are those of the administrator's organisation, counted; the page before this one
shows each.
"""

from typing import Final

from fhir_server.context import now
from smart_apps.admin import markup, subscriptions
from smart_apps.admin.desk import ADMINISTRATOR, Answer, Desk, Page, Place, Visit
from smart_apps.admin.markup import joined
from smart_apps.admin.times import lasting, moment
from subscriptions import overview

ADDRESS: Final = "/admin/queue"

FOLLOWERS: Final = {
    "matcher": "Matching of changes to subscriptions",
    "acknowledgement": "Receipts of reports, from the audit ledger",
}


async def shows(desk: Desk, visit: Visit) -> Answer:
    """Show what waits."""
    instant = now()
    groups = await overview.groups(desk.database, visit.user.organization)
    sent = [
        (
            one.status,
            one.number,
            one.waiting,
            "" if one.oldest is None else lasting(instant - one.oldest),
            moment(one.due),
        )
        for one in groups
    ]
    behind = [
        (FOLLOWERS[name], f"{number} or more" if number == overview.MOST else number)
        for name, number in await overview.behind(desk.database)
    ]
    body = joined(
        markup.table(
            "Subscriptions of your organisation",
            ("Status", "Number", "Events waiting", "Oldest waits for", "Next tried"),
            sent,
        ),
        markup.element("p", markup.link(subscriptions.ADDRESS, "Each of them")),
        markup.table("Lines of a log not yet looked at", ("Who follows it", "Lines"), behind),
        markup.table(
            "Jobs that wait, run or have failed, of the whole server",
            ("Job", "Status", "Number"),
            await overview.jobs(desk.database),
        ),
    )
    return Page("Queue", body)


PLACES: Final = (Place(ADDRESS, "Queue", frozenset({ADMINISTRATOR}), shows),)
