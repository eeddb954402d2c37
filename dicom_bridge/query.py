"""Query: which studies, series and instances somebody may see match DICOM keys.

QIDO-RS and C-FIND both end here. The gated search over ImagingStudy says which studies, newest
first; the rows that were made when they were settled are the answer. Keys that FHIR search cannot
say are matched on those rows.

References
----------
* PS3.4 Section C.4.1 (C-FIND); PS3.18 Section 10.6 (Search Transaction)
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import orjson

from dicom_bridge.bridge import Bridge
from dicom_bridge.mapping import attributes, dicom_json, tags
from dicom_bridge.mapping.attributes import Asked
from fhir_server.access import gate
from fhir_server.access.gate import Reach
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Texts
from fhir_server.search import find
from fhir_server.search import query as queries
from fhir_server.search.query import Chain, Criterion, Query
from resources.errors import Exhausted

STUDIES: Final = "SELECT imaging_study, study_uid, json FROM study WHERE imaging_study = ANY($1)"

SERIES: Final = """
SELECT study_uid, series_uid, json FROM series WHERE study_uid = ANY($1)
ORDER BY number NULLS LAST, series_uid
"""

INSTANCES: Final = """
SELECT study_uid, series_uid, sop_uid, header FROM instance
WHERE study_uid = ANY($1)
ORDER BY series_number NULLS LAST, series_uid, number NULLS LAST, sop_uid
"""

STUDY_SAMPLES: Final = """
SELECT DISTINCT ON (study_uid) study_uid, json FROM instance
WHERE study_uid = ANY($1) AND json IS NOT NULL ORDER BY study_uid, sop_uid
"""

WHOLE: Final = "SELECT sop_uid, json FROM instance WHERE sop_uid = ANY($1) AND json IS NOT NULL"

SERIES_SAMPLES: Final = """
SELECT DISTINCT ON (series_uid) series_uid, json FROM instance
WHERE series_uid = ANY($1) AND json IS NOT NULL ORDER BY series_uid, sop_uid
"""

MOST: Final = 1000
"""Rows of one answer, and studies of one search behind it."""
MOST_COUNTED: Final = 100_000
"""Rows that are counted, if all are to be; of more it is not said how many there are."""
MOST_LOOKED_AT: Final = 20_000
"""Studies whose rows are looked at for one query; who asks for more is told to ask for less."""

Keys = Mapping[str, str]


class Row(NamedTuple):
    """One row of an answer: where it belongs, and its DICOM JSON without Retrieve URL."""

    study_uid: str
    series_uid: str
    sop_uid: str
    json: bytes

    @property
    def path(self) -> str:
        """Where it is retrieved, relative to the base (PS3.18 Section 10.1.1)."""
        parts = (("studies", self.study_uid), ("series", self.series_uid))
        path = "".join(f"/{name}/{uid}" for name, uid in parts if uid)
        return path + (f"/instances/{self.sop_uid}" if self.sop_uid else "")


class Found(NamedTuple):
    """A page of rows, whether there are more, and how many there are in all if that is known."""

    rows: Sequence[Row]
    more: bool
    total: int | None = None


class Page(NamedTuple):
    """Which rows are wanted, and what of them."""

    limit: int = MOST
    offset: int = 0
    include: Sequence[str] = ()
    """Keywords of more attributes to be returned, from the data set itself; ``all`` for all."""
    fuzzy: bool = False
    exact: bool = False
    """Count all rows there are, whatever it takes."""

    @property
    def end(self) -> int:
        """How many rows there are up to the last one that is wanted."""
        return self.offset + self.limit


FIRST: Final = Page()


async def studies(bridge: Bridge, context: RequestContext, keys: Keys, page: Page = FIRST) -> Found:
    """Find studies, newest first.

    Parameters
    ----------
    keys
        Keywords of patient and study level with the values to match; dotted within sequences.
    """
    asked = attributes.studies(keys, fuzzy=page.fuzzy)
    wanted = MOST if page.exact else page.end + 1
    found = await _gathered(study_batches(bridge, context, asked, wanted), page)
    return await _with_more(bridge, found, page, STUDY_SAMPLES, attributes.STUDY_MORE)


async def series(
    bridge: Bridge,
    context: RequestContext,
    keys: Keys,
    own: Keys,
    page: Page = FIRST,
    *,
    with_study: bool = False,
) -> Found:
    """Find series, of the newest study first, by their number.

    Parameters
    ----------
    own
        Keywords of series level; `keys` are those of its patient and study.
    with_study
        Add the attributes of the study to each row (PS3.18 Section 10.6.3.3.2, "All Series").
    """

    async def batches() -> AsyncIterator[list[Row]]:
        async for batch in study_batches(bridge, context, _narrowed(keys, own, page.fuzzy)):
            yield await _series_of(bridge, batch, own, with_study, page.fuzzy)

    found = await _gathered(batches(), page)
    more = attributes.SERIES_MORE | (attributes.STUDY_MORE if with_study else frozenset())
    return await _with_more(bridge, found, page, SERIES_SAMPLES, more)


async def instances(
    bridge: Bridge,
    context: RequestContext,
    keys: Keys,
    own: Keys,
    page: Page = FIRST,
    *,
    with_study: bool = False,
    with_series: bool = False,
) -> Found:
    """Find instances, of the newest study first, by series and instance number.

    Parameters
    ----------
    own
        Keywords of series and instance level; `keys` are those of patient and study.
    with_study, with_series
        Add the attributes of study and series to each row (PS3.18 Section 10.6.3.3.3).
    """

    async def batches() -> AsyncIterator[list[Row]]:
        async for batch in study_batches(bridge, context, _narrowed(keys, own, page.fuzzy)):
            rows = await _instances_of(bridge, batch, own, page)
            if with_series:
                kept = {
                    row.series_uid: row for row in await _series_of(bridge, batch, {}, with_study)
                }
                rows = [
                    _joined(row, kept[row.series_uid]) for row in rows if row.series_uid in kept
                ]
            yield rows

    found = await _gathered(batches(), page)
    return await _with_more(bridge, found, page, WHOLE, None)


async def _gathered(batches: AsyncIterator[list[Row]], page: Page) -> Found:
    """Take rows until the page is full, or all are counted if that is wanted."""
    rows: list[Row] = []
    total = 0
    whole = True
    try:
        async for batch in batches:
            total += len(batch)
            rows += batch[: max(0, page.end - len(rows))]
            if total > (MOST_COUNTED if page.exact else page.end):
                whole = False
                break
    except Exhausted:
        if total <= page.end:
            raise
        whole = False
    return Found(rows[page.offset :], total > page.end, total if whole else None)


async def study_batches(
    bridge: Bridge, context: RequestContext, asked: Asked, wanted: int = MOST
) -> AsyncIterator[list[Row]]:
    """Bring the rows of all studies that match, newest first, so many at a time.

    Raises
    ------
    Forbidden
        The asker may not search for studies at all.
    Exhausted
        More studies than we look at in one query.
    """
    count = MOST if asked.rest else min(wanted, MOST)
    said = "&".join(f"{name}={value}" for name, value in (*asked.pairs, *asked.names, *asked.words))
    entry = ledger.entry(context, type="ImagingStudy", query=said)
    cursor: str | None = None
    looked_at = 0
    while True:
        query = gate.narrow(context, fhir_query(asked, count, cursor))
        ids, cursor = await find.find_ids_paged(
            bridge.database, query, context, row=entry, reaches=_patients(query)
        )
        rows = await _studies_of(bridge, ids)
        yield [row for row in rows if _matches(row, asked.rest, asked.fuzzy)]
        looked_at += len(ids)
        if cursor is None:
            return
        if looked_at >= MOST_LOOKED_AT:
            raise Exhausted("Too many studies match: ask for fewer dates or for a patient")


def fhir_query(asked: Asked, count: int, cursor: str | None = None) -> Query:
    """Make the ImagingStudy search of a query: only studies settled here, newest first.

    Settling names the organization that sent each series, which makes a study `held`; one that is
    known from elsewhere and has no objects here does not.
    """
    pairs = [*asked.pairs, ("status", "available"), ("held", "true")]
    pairs += [("_sort", "-started"), ("_total", "none")]
    pairs += [("_cursor", cursor)] if cursor else []
    query = queries.parse("ImagingStudy", pairs, strict=True)
    names = tuple(
        Criterion("patient", "reference", chain=Chain("Patient", _like(code, pattern, asked.fuzzy)))
        for code, pattern in asked.names
    )
    words = tuple(queries.like(code, pattern) for code, pattern in asked.words)
    return replace(query, criteria=(*query.criteria, *names, *words), count=count)


def _like(code: str, pattern: str, fuzzy: bool) -> Criterion:
    """Ask for a text that a pattern fits; a fuzzy one also behind a space or a hyphen."""
    criterion = queries.like(code, pattern)
    more = (f"% {pattern}", f"%-{pattern}") if fuzzy else ()
    return replace(criterion, values=(pattern, *more))


def _patients(query: Query) -> dict[str, Reach | None]:
    """Say how far patients are seen by whom the studies are found: as far as their studies.

    Name and number of the patient are attributes of a DICOM study. Who may search studies may
    search them by these too, and learns nothing that the rows would not say.
    """
    assert query.reach is not None
    return dict.fromkeys(query.touches, query.reach._replace(only=()))


async def _studies_of(bridge: Bridge, ids: Sequence[str]) -> list[Row]:
    if not ids:
        return []
    found = await bridge.database.run(STUDIES, (Texts(ids),))
    rows = {id: Row(study_uid, "", "", json) for id, study_uid, json in found}
    return [rows[id] for id in ids if id in rows]


async def _series_of(
    bridge: Bridge, studies: Sequence[Row], own: Keys, with_study: bool, fuzzy: bool = False
) -> list[Row]:
    if not studies:
        return []
    uids = Texts([row.study_uid for row in studies])
    found: dict[str, list[Row]] = {}
    for study_uid, series_uid, json in await bridge.database.run(SERIES, (uids,)):
        row = Row(study_uid, series_uid, "", json)
        if _matches(row, own, fuzzy):
            found.setdefault(study_uid, []).append(row)
    return [
        _joined(row, study) if with_study else row
        for study in studies
        for row in found.get(study.study_uid, ())
    ]


async def _instances_of(bridge: Bridge, studies: Sequence[Row], own: Keys, page: Page) -> list[Row]:
    if not studies:
        return []
    uids = Texts([row.study_uid for row in studies])
    found: dict[str, list[Row]] = {}
    rows = await bridge.database.run(INSTANCES, (uids,))
    for study_uid, series_uid, sop_uid, header in rows:
        members = _instance(orjson.loads(header))
        if attributes.matches(members, own, fuzzy=page.fuzzy):
            shown = {tag: members[tag] for tag in sorted(members) if tag not in _MATCHED_ONLY}
            row = Row(study_uid, series_uid, sop_uid, orjson.dumps(shown))
            found.setdefault(study_uid, []).append(row)
    return [row for study in studies for row in found.get(study.study_uid, ())]


_AVAILABLE: Final = {"InstanceAvailability": "ONLINE"}
_MATCHED_ONLY: Final = frozenset({attributes.tag_of("Modality"), attributes.tag_of("SeriesNumber")})
"""Attributes of the series that instances are matched by, but do not return."""


def _instance(header: Mapping[str, Any]) -> dict[str, Any]:
    """DICOM JSON of PS3.18 Table 10.6.3-5, and what of its series an instance is matched by."""
    members = dicom_json.row(header, (tags.INSTANCE,), _AVAILABLE)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber"):
        members.update([dicom_json.element(keyword, header.get(keyword, ""))])
    return members


async def _with_more(
    bridge: Bridge, found: Found, page: Page, samples: str, known: frozenset[str] | None
) -> Found:
    """Add attributes that no row has, from the instance, or the first one of a study or series.

    Parameters
    ----------
    known
        Those of the level; None: every one.
    """
    keywords = frozenset(page.include)
    if known is not None:
        keywords = known if "all" in keywords else known & keywords
    if not keywords or not found.rows:
        return found
    uids = Texts([row.sop_uid or row.series_uid or row.study_uid for row in found.rows])
    rows = await bridge.database.run(samples, (uids,))
    wholes = {uid: orjson.loads(json) for uid, json in rows}
    made = []
    for row, uid in zip(found.rows, uids, strict=True):
        members = {**_picked(wholes.get(uid, {}), sorted(keywords)), **orjson.loads(row.json)}
        made.append(row._replace(json=orjson.dumps(dict(sorted(members.items())))))
    return found._replace(rows=made)


def _picked(everything: Mapping[str, Any], include: Sequence[str]) -> dict[str, Any]:
    """Take attributes of a data set, but for bulk data."""
    tags_wanted = sorted(everything) if "all" in include else map(attributes.tag_of, include)
    return {
        tag: everything[tag]
        for tag in tags_wanted
        if tag in everything and "BulkDataURI" not in everything[tag]
    }


def _joined(row: Row, above: Row) -> Row:
    """Add what is said of the study or series that a row belongs to."""
    members = {**orjson.loads(above.json), **orjson.loads(row.json)}
    return row._replace(json=orjson.dumps(dict(sorted(members.items()))))


def _matches(row: Row, rest: Keys, fuzzy: bool) -> bool:
    return not rest or attributes.matches(orjson.loads(row.json), rest, fuzzy=fuzzy)


def _narrowed(keys: Keys, own: Keys, fuzzy: bool) -> Asked:
    """Narrow the studies by what is asked of their series and instances, where FHIR can say it."""
    asked = attributes.studies(keys, fuzzy=fuzzy)
    narrowed = attributes.studies({key: own[key] for key in attributes.NARROWING if key in own})
    return asked._replace(
        pairs=(*asked.pairs, *narrowed.pairs), words=(*asked.words, *narrowed.words)
    )
