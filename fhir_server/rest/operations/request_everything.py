"""ServiceRequest/$everything: one imaging request from referral to acknowledged report.

It begins with the request, takes in the others of its requisition and those based on them, and
follows the links of `FOLLOWED` to the steps, appointments, studies and reports, and at last to the
Provenance of each. It is told in the order in which it happened, across organisations.

References
----------
* R001, R004, R007, R009 of the requirements: request, steps, images and reports stay together
* docs/representation.md: a request group is a requisition
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from fhir_server.access import gate
from fhir_server.rest import bundles, outcomes
from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations.everything import NAMED
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from fhir_server.search import date
from fhir_server.search import query as queries
from fhir_server.search.query import MOST_VALUES
from fhir_server.search.stored import Stored
from resources import references
from resources.errors import Forbidden, Issue, TooLarge

MOST: Final = 2000
"""Resources of one answer; a request that gathered more is not what it should be."""

PAGE: Final = 500

TAKES: Final[tuple[Taken, ...]] = ()

HAPPENED: Final[Mapping[str, str]] = {
    "Communication":    "sent",
    "DiagnosticReport": "issued",
    "ImagingStudy":     "started",
    "Provenance":       "recorded",
    "ServiceRequest":   "authoredOn",
    "Task":             "authoredOn",
}  # fmt: skip
"""FHIR R4: the element that says when it happened; of the others, when it was written last."""


class Link(NamedTuple):
    """Resources of `type` that by the search parameter `code` point at those of `target`."""

    target: str
    type: str
    code: str


FOLLOWED: Final = (
    Link("ServiceRequest",   "ServiceRequest",   "based-on"),
    Link("ServiceRequest",   "Task",             "based-on"),
    Link("ServiceRequest",   "Task",             "focus"),
    Link("ServiceRequest",   "Appointment",      "based-on"),
    Link("ServiceRequest",   "ImagingStudy",     "basedon"),
    Link("ServiceRequest",   "Procedure",        "based-on"),
    Link("ServiceRequest",   "Observation",      "based-on"),
    Link("ServiceRequest",   "DiagnosticReport", "based-on"),
    Link("ServiceRequest",   "Communication",    "based-on"),
    Link("Task",             "Task",             "part-of"),
    Link("ImagingStudy",     "DiagnosticReport", "imagingStudy"),
    Link("ImagingStudy",     "Task",             "focus"),
    Link("DiagnosticReport", "DiagnosticReport", "addendum-of"),
    Link("DiagnosticReport", "Task",             "focus"),
    Link("DiagnosticReport", "Communication",    "about"),
)  # fmt: skip
"""Followed until nothing new is found, then Provenance:target of all of it."""


class Gathered:
    """What has been found so far, by reference, and which types the asker may not search."""

    def __init__(self, server: Server, request: Request) -> None:
        self.rows: dict[str, Stored] = {}
        self.closed: set[str] = set()
        self._server = server
        self._request = request

    async def search(self, type: str, code: str, values: Iterable[str]) -> list[Stored]:
        """Add what a search finds, and give what of it is new."""
        if not self._is_open(type):
            return []
        asked, new = list(values), []
        for start in range(0, len(asked), MOST_VALUES):
            some = ",".join(asked[start : start + MOST_VALUES])
            cursor: str | None = ""
            while cursor is not None:
                pairs = [(code, some), ("_count", str(PAGE)), ("_total", "none")]
                pairs += [("_cursor", cursor)] if cursor else []
                query = queries.parse(type, pairs, own_base=self._server.base_url)
                page = await self._server.store.search(self._request.context, query)
                new += [row for row in page.matches if self.add(row)]
                cursor = page.next
        return new

    def add(self, row: Stored) -> bool:
        """Take a row in; False if it was there.

        Raises
        ------
        TooLarge
            More than `MOST`.
        """
        if row.reference in self.rows:
            return False
        if len(self.rows) >= MOST:
            raise TooLarge(f"The request has more than {MOST} resources.", code="too-costly")
        self.rows[row.reference] = row
        return True

    def _is_open(self, type: str) -> bool:
        try:
            gate.reach(self._request.context, "s", type)
        except Forbidden:
            self.closed.add(type)
        return type not in self.closed


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer the request and all that came of it, as a searchset of one page."""
    request.handed_over = True
    gathered = Gathered(server, request)
    first = await server.store.read(request.context, "ServiceRequest", request.id)
    gathered.add(first)
    new = [first]
    if requisition := _token(first):
        new += await gathered.search("ServiceRequest", "requisition", [requisition])
    while new:
        found: list[Stored] = []
        for link in FOLLOWED:
            if pointed := [row.reference for row in new if row.type == link.target]:
                found += await gathered.search(link.type, link.code, pointed)
        new = found
    await gathered.search("Provenance", "target", list(gathered.rows))
    about = [name for row in gathered.rows.values() for name in _named(server, row)]
    named = await server.store.many(request.context, list(dict.fromkeys(about)))
    base = server.base_url.encode()
    told = sorted(gathered.rows.values(), key=lambda row: (row is not first, _moment(row)))
    entries = bundles.hits(base, told, b"match")
    entries += bundles.hits(base, named.values(), b"include")
    if gathered.closed:
        entries.append(bundles.remark(_left_out(gathered.closed)))
    links = [("self", f"{server.base_url}/ServiceRequest/{request.id}/$everything")]
    total = len(gathered.rows)
    body = bundles.bundle(b"searchset", entries, total=total, links=links)
    patient = first.json.get("subject", {}).get("reference", "")
    about_whom = references.parse(patient, server.base_url)
    is_patient = about_whom is not None and about_whom.type == "Patient"
    return Result(Answer(200, body), about_whom.id if about_whom and is_patient else None, total)


def _moment(row: Stored) -> tuple[int, str]:
    """When something happened, in microseconds since 1970 UTC; what is alike, by its name."""
    said = row.json.get(HAPPENED.get(row.type, ""))
    return (date.period(said)[0] if isinstance(said, str) else row.instant), row.reference


def _token(request: Stored) -> str:
    """The requisition as a token to search for; what would divide a token is escaped."""
    requisition = request.json.get("requisition", {})
    if "value" not in requisition:
        return ""
    parts = (str(requisition.get("system", "")), str(requisition["value"]))
    return "|".join(part.replace("\\", "\\\\").replace(",", "\\,").replace("|", "\\|")
                    for part in parts)  # fmt: skip


def _named(server: Server, row: Stored) -> Iterable[str]:
    """Name the patient, organisations, people and places that a resource refers to."""
    for _, literal, _ in references.find(row.json):
        named = references.parse(literal, server.base_url)
        if named is not None and named.type in NAMED | {"Patient"} and not named.base:
            yield f"{named.type}/{named.id}"


def _left_out(types: Iterable[str]) -> bytes:
    issues = [Issue("suppressed", f"{type} is left out: it may not be searched.") for type in types]
    return outcomes.outcome(issues, severity="information")
