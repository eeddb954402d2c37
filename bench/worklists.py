"""The named worklists, timed beside more and more work that is done.

``python -m bench.worklists --at 10000,200000`` starts a PostgreSQL of its own, loads so many
Tasks and as many ServiceRequests through COPY with the terms that the server would index, and
times each worklist as the server runs it: gate, page, total, includes, in one statement. What is
open stays the same, `OPEN` steps of ten organisations: a record grows by what is finished.
"""

import argparse
import asyncio
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import psycopg

from fhir_server.access import scopes
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.postgres.embedded import DURABLE, embedded
from fhir_server.search import compile, find, query, width
from fhir_server.search.terms import index
from fhir_server.store import schema
from fhir_server.store.tables import NOT_ENDED
from resources.codes import DCM, IMAGING_STEP

OPEN: Final = 2000
ORGANIZATIONS: Final = 10
SIZES: Final = "10000,200000"
SECTION: Final = 20_000
"""Resources copied at once."""

BEGINNING: Final = 1_760_000_000
"""Seconds since 1970 of the first request; one comes a minute."""

STEPS: Final = (
    ("justify", "requested"), ("acquire", "ready"), ("report", "ready"),
    ("acknowledge", "requested"), ("apply-correction", "in-progress"),
)  # fmt: skip
PRIORITIES: Final = ("routine", "urgent", "routine", "asap", "routine", "routine", "stat")

WORKLISTS: Final = {
    "justify": "Task?code={S}|justify&status=requested,received,ready&owner=Organization/o3"
    "&_sort=priority-rank,due&_include=Task:focus&_include=Task:patient",
    "acquire": "Task?code={S}|acquire&status=ready&owner=Organization/o3&period={day}"
    "&_include=Task:based-on",
    "report": "Task?code={S}|report&status=ready,in-progress&owner=Organization/o3"
    "&focus:ImagingStudy.modality=CT,MR&_sort=priority-rank,due&_include=Task:focus"
    "&_include:iterate=ImagingStudy:endpoint",
    "pool": "Task?code={S}|report&status=ready&candidate=PractitionerRole/me",
    "ack": "Task?code={S}|acknowledge&status=requested,received,accepted"
    "&owner=Organization/o3,CareTeam/ours&_sort=priority-rank,authored-on&_include=Task:focus",
    "ack audit": "Task?code={S}|acknowledge&requester=Organization/o3"
    "&business-status=unread,escalated&due=lt2030-11-24&_summary=count",
    "record": "ImagingStudy?patient=p1&_sort=-started&_revinclude=DiagnosticReport:imagingStudy"
    "&_include=ImagingStudy:endpoint",
    "corrections": "Task?code={S}|apply-correction&owner=Organization/o3"
    "&status=requested,received,in-progress",
    "requests": "ServiceRequest?status=active&performer=Organization/o3&_sort=-authored",
    "done": "Task?status=completed",
    "done, latest": "ServiceRequest?status=completed&performer=Organization/o3&_sort=-authored",
}  # fmt: skip
"""Worklists as EPR and PACS vendors ask for them; besides, ``requests`` for ServiceRequests, and
two that most of the record meets."""


class Line(NamedTuple):
    """One worklist at one size: matches, milliseconds, and blocks that PostgreSQL looks at.

    The blocks do not depend on what else the machine does meanwhile.
    """

    found: int | None
    least: float
    median: float
    blocks: int


def resources(first: int, last: int, total: int) -> Iterator[dict[str, Any]]:
    """Make a request and a step for each number, a study for a step of reporting."""
    for n in range(first, last):
        is_open = n >= total - OPEN
        step, status = STEPS[n % len(STEPS)]
        organization = {"reference": f"Organization/o{n // len(STEPS) % ORGANIZATIONS}"}
        about, when = {"reference": f"Patient/p{n // 10}"}, instant(BEGINNING + 60 * n)
        requester = {"reference": "PractitionerRole/gp"}
        yield {
            "resourceType": "ServiceRequest", "id": f"sr{n}",
            "status": "active" if is_open else "completed",
            "intent": "order", "priority": PRIORITIES[n % 7], "subject": about, "authoredOn": when,
            "identifier": [{"system": "http://hospital.example.org/placer", "value": f"P{n}"}],
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": "169069000"}]},
            "requester": requester, "performer": [organization],
        }  # fmt: skip
        focus = f"ServiceRequest/sr{n}"
        if step == "report":
            focus = f"ImagingStudy/is{n}"
            modality = {"system": DCM, "code": ("CT", "MR", "US")[n % 3]}
            yield {
                "resourceType": "ImagingStudy", "id": f"is{n}", "status": "available",
                "subject": about, "started": when,
                "series": [{"uid": f"1.2.4.{n}", "modality": modality}],
                "basedOn": [{"reference": f"ServiceRequest/sr{n}"}],
                "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:1.2.3.{n}"}],
            }  # fmt: skip
        task = {
            "resourceType": "Task", "id": f"t{n}", "status": status if is_open else "completed",
            "intent": "order", "priority": PRIORITIES[n % 7], "for": about, "authoredOn": when,
            "code": {"coding": [{"system": IMAGING_STEP, "code": step}]}, "owner": organization,
            "focus": {"reference": focus}, "basedOn": [{"reference": f"ServiceRequest/sr{n}"}],
            "requester": organization if step == "acknowledge" else requester, "lastModified": when,
            "executionPeriod": {"start": when, "end": instant(BEGINNING + 60 * n + 1800)},
            "restriction": {"period": {"end": instant(BEGINNING + 60 * n + 86400)}},
        }  # fmt: skip
        if step == "acknowledge":
            task["businessStatus"] = {"coding": [{"code": "unread" if is_open else "acknowledged"}]}
        yield task


def instant(seconds: int) -> str:
    """Write a time of day."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def load(url: str, count: int) -> None:
    """Fill the tables; the indexes are made when all is there."""
    with psycopg.connect(url, autocommit=True) as connection:
        later = connection.execute(
            "select indexname, indexdef from pg_indexes where schemaname = 'public' and tablename"
            " in ('current', 'date_term', 'relation') and indexdef not like 'CREATE UNIQUE%'"
        ).fetchall()
        for name, _ in later:
            connection.execute(f"drop index {name}")
        key = 0
        for first in range(0, count, SECTION):
            some = list(resources(first, min(first + SECTION, count), count))
            _copy(connection, key, some)
            key += len(some)
        for _, definition in later:
            connection.execute(definition)
        connection.execute("select setval('version_key', %s)", (key + 1,))
        connection.execute("vacuum analyze")


def _copy(connection: psycopg.Connection[Any], key: int, some: list[dict[str, Any]]) -> None:
    indexed = [index(each) for each in some]
    numbered = list(enumerate(zip(some, indexed, strict=True), key + 1))
    now = BEGINNING * 1_000_000
    rows: dict[str, Iterator[tuple[Any, ...]]] = {
        "version(key, type, id, version, instant, interaction, body)": (
            (n, each["resourceType"], each["id"], 1, now + n, "C", orjson.dumps(each))
            for n, (each, _) in numbered
        ),
        "current(type, id, key, version, instant, deleted, patient, organizations, sort_at,"
        " sort_until, terms)": (
            (each["resourceType"], each["id"], n, 1, now + n, False, _patient(each), _parties(each),
             terms.sort_at, terms.sort_until, terms.terms)
            for n, (each, terms) in numbered
        ),
        "date_term(type, code, low, high, key)": (
            (each["resourceType"], code, low, high, n)
            for n, (each, terms) in numbered
            for code, low, high in terms.dates
        ),
        "relation(organization, patient, type, id, until)": (
            (_parties(each)[1], _patient(each), each["resourceType"], each["id"], NOT_ENDED)
            for _, (each, _) in numbered
        ),
    }  # fmt: skip
    with connection.transaction(), connection.cursor() as cursor:
        for table, values in rows.items():
            with cursor.copy(f"copy {table} from stdin") as copy:
                for row in values:
                    copy.write_row(row)


def _patient(resource: dict[str, Any]) -> str:
    about: dict[str, str] = resource.get("subject") or resource["for"]
    return about["reference"].partition("/")[2]


def _parties(resource: dict[str, Any]) -> list[str]:
    """Name who made a resource, and whose step it is."""
    n = int("".join(filter(str.isdigit, resource["id"])))
    return ["o0", f"o{n // len(STEPS) % ORGANIZATIONS}"]


async def timed(url: str, rounds: int, explain: bool) -> dict[str, Line]:
    """Ask each worklist as a reporter of one organisation would."""
    principal = Principal("PractitionerRole/me", "o3", "application", scopes.parse("user/*.cruds"))
    context = RequestContext(principal, "search-type")
    database = Database(url, size=2)
    await database.open()
    lines = {}
    for name, text in WORKLISTS.items():
        type, _, asked = text.replace("{S}", IMAGING_STEP).partition("?")
        newest = await database.run("select max(sort_at) from current where type = 'Task'")
        asked = asked.replace("{day}", instant(newest[0][0] // 1_000_000)[:10])
        pairs = [(name, value) for name, _, value in (p.partition("=") for p in asked.split("&"))]
        parsed = query.parse(type, pairs, strict=True)
        narrowed = find.narrow(parsed, context)
        took = []
        for _ in range(rounds + 8):
            began = time.perf_counter()
            page = await find.find(database, narrowed, context)
            took.append((time.perf_counter() - began) * 1000)
        reaches = find.reached(narrowed, context)
        walks = await width.is_wide(database, narrowed)
        sql, values = compile.statement(narrowed, context.instant, reaches, walks=walks)
        plan = await database.run(f"explain (analyze, buffers, costs off) {sql}", values)
        text = "\n".join(row[0] for row in plan)
        first = text.partition("Buffers:")[2].partition("\n")[0]
        blocks = sum(map(int, re.findall(r"(?:hit|read)=(\d+)", first)))
        lines[name] = Line(page.total, min(took), statistics.median(took[8:]), blocks)
        if explain:
            print(f"\n--- {name}\n{text}")
    await database.close()
    return lines


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.worklists", description=__doc__)
    parser.add_argument("--at", default=SIZES, help="Tasks; as many requests")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--explain", action="store_true", help="print each plan at the last size")
    options = parser.parse_args()
    compare([int(each) for each in options.at.split(",")], options.rounds, options.explain)


def compare(sizes: list[int], rounds: int, with_plans: bool) -> dict[int, dict[str, Line]]:
    """Load and measure each size, and print the times beside the first."""
    found: dict[int, dict[str, Line]] = {}
    for size in sizes:
        with (
            tempfile.TemporaryDirectory(prefix="isocentre-bench-") as folder,
            embedded(Path(folder), settings={**DURABLE, "fsync": "off"}) as url,
        ):
            schema.migrate(url)
            began = time.monotonic()
            load(url, size)
            print(f"{size} Tasks loaded in {time.monotonic() - began:.0f} s", flush=True)
            explain = with_plans and size == sizes[-1]
            found[size] = asyncio.run(timed(url, rounds, explain))
        print(
            f"\n{'worklist':14}{'matches':>8}{'least':>9}{'median':>9}{'blocks':>8}{'x first':>9}"
        )
        for name, line in found[size].items():
            ratio = line.median / found[sizes[0]][name].median
            print(
                f"{name:14}{line.found!s:>8}{line.least:9.2f}{line.median:9.2f}{line.blocks:8}"
                f"{ratio:9.2f}"
            )
    return found


if __name__ == "__main__":
    main()
