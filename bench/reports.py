"""The report on the audit, timed over a ledger of many rows.

``python -m bench.reports --at 1000000`` starts a PostgreSQL of its own, fills the ledger through
COPY with a month of a region: twenty organisations whose people open, send and fetch the studies
and reports of their own patients and of others', and times the report as the server makes it, for
an organisation's auditor and for the server itself; then with a month that is all of one
organisation, for its auditor. Besides the time it gives PostgreSQL's processor time, which others
on the machine change less.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psycopg

from bench.processes import cpu_seconds
from fhir_server.access import scopes
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database
from fhir_server.postgres.embedded import DURABLE, embedded, running
from fhir_server.reports import counting, periods
from fhir_server.reports.measures import MEASURES, Asked
from fhir_server.store import schema
from fhir_server.store.tables import NOT_ENDED
from resources import codes

ROWS: Final = 1_000_000
ORGANIZATIONS: Final = 20
PER_PERSON: Final = 2000
"""Rows of the ledger that one person of a month makes."""
PER_STUDY: Final = 25
"""Rows that concern one study or its report."""

LOW: Final = 1_793_491_200_000_000
"""2026-11-01, microseconds since 1970 UTC."""
HIGH: Final = LOW + 30 * 86_400_000_000

KINDS: Final = (
    *(("read", "ImagingStudy", 4), ("read", "DiagnosticReport", 4), ("WADO-RS", "ImagingStudy", 6)),
    *(("search-type", "Task", 3), ("create", "Task", 1), ("update", "Task", 1)),
    *(("C-STORE", "ImagingStudy", 4), ("C-GET", "ImagingStudy", 1), ("vread", "Patient", 1)),
)
"""Interaction, type, and how often it is among the others."""

_AUDIT: Final = (
    "instant", "interaction", "outcome", "subject", "organization", "client", "role", "origin",
    "request", "type", "id", "version", "patient", "query", "hits", "purpose",
)  # fmt: skip
_CURRENT: Final = (
    "type", "id", "key", "version", "instant", "deleted", "patient", "organizations", "sort_at",
    "sort_until", "terms",
)  # fmt: skip

QUESTIONS: Final = {
    "by organisation": Asked(LOW, HIGH),
    "by organisation, day": Asked(
        LOW, HIGH, by=("organization", "period"), period="day",
        starts=periods.starts("day", LOW, HIGH),
    ),
    "by person, purpose": Asked(LOW, HIGH, by=("person", "purpose")),
    "who opened whose": Asked(LOW, HIGH, ("crossed",), ("organization", "creator")),
    "by modality": Asked(LOW, HIGH, tuple(MEASURES), ("organization", "modality")),
}  # fmt: skip


def load(url: str, rows: int, organizations: int = ORGANIZATIONS) -> None:
    """Fill the ledger, and the rows of the studies, reports and acts that it speaks of."""
    schema.migrate(url)
    chance = random.Random(14)
    studies = max(rows // PER_STUDY, 1)
    kinds = [each[:2] for each in KINDS for _ in range(each[2])]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select make_partitions(%s)", (LOW,))
        with connection.transaction(), connection.cursor() as cursor:
            with cursor.copy(f"copy current({', '.join(_CURRENT)}) from stdin") as copy:
                for n in range(studies):
                    for row in _resources(n, organizations):
                        copy.write_row(row)
            with cursor.copy(
                "copy relation(organization, patient, type, id, until) from stdin"
            ) as copy:
                for n in range(studies):
                    copy.write_row(
                        (_owner(n, organizations), f"p{n}", "ImagingStudy", f"s{n}", NOT_ENDED)
                    )
            with cursor.copy(f"copy audit({', '.join(_AUDIT)}) from stdin") as copy:
                for n in range(rows):
                    copy.write_row(_access(n, rows, studies, kinds, chance, organizations))
        for table in ("current", "relation", "audit"):
            connection.execute(f"vacuum analyze {table}")


def _owner(study: int, organizations: int) -> str:
    return f"o{study % organizations}"


def _resources(n: int, organizations: int) -> list[tuple[Any, ...]]:
    """A study, its report, and the Provenance of both."""
    owner, about, at = _owner(n, organizations), f"p{n}", LOW + n
    study, report = f"ImagingStudy/s{n}", f"DiagnosticReport/d{n}"

    def row(type: str, id: str, key: int, terms: list[str], who: list[str]) -> tuple[Any, ...]:
        return (type, id, 4 * n + key, 1, at, False, about, who, at, at, terms)

    def act(key: int, activity: codes.Coding, target: str) -> tuple[Any, ...]:
        terms = [
            f"P.activity={activity.token}", f"P.target={target}", f"P.target={target}/_history/1",
            f"P.agent=PractitionerRole/{owner}r",
        ]  # fmt: skip
        return row("Provenance", f"a{n}-{key}", key, terms, [owner])

    modality = ("CT", "MR", "US", "DX")[n % 4]
    return [
        row("ImagingStudy", f"s{n}", 0, [f"IS.modality={modality}",
            f"IS.source-organization=Organization/{owner}"], ["", owner]),
        row("DiagnosticReport", f"d{n}", 1, [f"DR.imagingStudy={study}"], [owner]),
        act(2, codes.ACQUIRE, study),
        act(3, codes.LEGALLY_AUTHENTICATED, report),
    ]  # fmt: skip


def _access(
    n: int,
    rows: int,
    studies: int,
    kinds: Sequence[tuple[str, ...]],
    chance: random.Random,
    organizations: int,
) -> tuple[Any, ...]:
    interaction, type = chance.choice(kinds)
    study = chance.randrange(studies)
    own = chance.random() < 0.8
    place = _owner(study if own else chance.randrange(organizations), organizations)
    people = max(rows // PER_PERSON // organizations, 1)
    person = f"PractitionerRole/{place}-{chance.randrange(people)}"
    id = {"ImagingStudy": f"s{study}", "DiagnosticReport": f"d{study}", "Patient": f"p{study}"}
    moved_in, searched = interaction == "C-STORE", interaction == "search-type"
    query = f"StudyInstanceUID=1.2.{study}&SOPInstanceUID=1.2.{study}.{n}" if moved_in else None
    return (
        LOW + n * (HIGH - LOW) // rows, interaction, 0 if chance.random() < 0.98 else 4, person,
        place, "viewer", "reporter", "10.0.0.1", f"r{n}", type,
        None if moved_in or searched else id.get(type, f"t{n}"), 1,
        None if moved_in else f"p{study}", query, 1, chance.choice(("TREAT", "TREAT", "COC")),
    )  # fmt: skip


async def timed(
    url: str, askers: Mapping[str, Principal], rounds: int, pid: int
) -> dict[str, dict[str, tuple[float, float]]]:
    """Ask each question as each asker; the least milliseconds and processor seconds of each."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    database = Database(url, size=2)
    await database.open()
    for name, asked in QUESTIONS.items():
        found[name] = {}
        for who, principal in askers.items():
            context = RequestContext(principal, "audit-log", instant=HIGH)
            taken, used = [], []
            for _ in range(rounds):
                start, before = time.perf_counter(), cpu_seconds((pid,))
                await counting.count(database, context, asked)
                taken.append((time.perf_counter() - start) * 1000)
                used.append(cpu_seconds((pid,)) - before)
            found[name][who] = (min(taken), min(used))
    await database.close()
    return found


def _auditor(organization: str) -> Principal:
    scope = scopes.parse("user/AuditEvent.rs")
    return Principal("PractitionerRole/a", organization, "auditor", scope)


ASKERS: Final[Mapping[int, Mapping[str, Principal]]] = {
    ORGANIZATIONS: {
        "one of twenty": _auditor("o3"), "the server, of all": Principal.system("bench"),
    },
    1: {"one that has all": _auditor("o0")},
}  # fmt: skip
"""By the number of organisations that share the ledger: who asks."""


def measure(rows: int, rounds: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Fill a ledger twice, time the report over it, and print milliseconds and CPU seconds."""
    found: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in QUESTIONS}
    for organizations, askers in ASKERS.items():
        with (
            tempfile.TemporaryDirectory(prefix="isocentre-bench-") as folder,
            embedded(Path(folder), settings={**DURABLE, "fsync": "off"}) as url,
        ):
            load(url, rows, organizations)
            postmaster = running(Path(folder) / "pg")
            assert postmaster is not None
            for name, took in asyncio.run(timed(url, askers, rounds, postmaster.pid)).items():
                found[name] |= took
    names = [who for askers in ASKERS.values() for who in askers]
    print(f"\n{f'{rows:,} rows of the ledger':28}{''.join(f'{who:>24}' for who in names)}")
    for name, took in found.items():
        figures = (f"{took[who][0]:,.0f} ms {took[who][1]:.2f} s" for who in names)
        print(f"{name:28}{''.join(f'{each:>24}' for each in figures)}")
    return found


def main() -> None:
    """Time the report over a ledger of so many rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.reports", description=__doc__)
    parser.add_argument("--at", type=int, default=ROWS, help="rows of the ledger")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    measure(options.at, options.rounds)


if __name__ == "__main__":
    main()
