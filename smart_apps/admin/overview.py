"""The first page: the month in numbers, and what waits for somebody."""

from typing import Final

from fhir_server.context import now
from fhir_server.reports import periods
from fhir_server.reports.measures import MEASURES, Asked
from smart_apps.admin import emergencies, markup
from smart_apps.admin.desk import EVERYBODY, Answer, Desk, Page, Place, Visit
from smart_apps.admin.markup import joined

ADDRESS: Final = "/admin"


async def shows(desk: Desk, visit: Visit) -> Answer:
    """Show it."""
    instant = now()
    asked = Asked(periods.this_month(instant), instant + 1000, by=())
    lines = await desk.store.count(visit.context("operation"), asked)
    rows = [(MEASURES[line.measure], line.number) for line in lines]
    parts = [markup.table("This month, as far as your organisation sees", ("What", "Number"), rows)]
    if visit.user.role in emergencies.PLACES[0].roles:
        number = len(await emergencies.waiting(desk, visit))
        told = f"Emergency accesses to be looked at: {number}"
        parts.insert(0, markup.element("p", markup.link(emergencies.ADDRESS, told)))
    return Page("Overview", joined(*parts))


PLACES: Final = (Place(ADDRESS, "Overview", EVERYBODY, shows),)
