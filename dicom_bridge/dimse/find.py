"""C-FIND in the Patient Root and Study Root models, baseline behaviour.

References
----------
* PS3.4 Sections C.4.1 (C-FIND), C.6.1 (Patient Root), C.6.2 (Study Root), Table C.4-1 (statuses)
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from pydicom.dataset import Dataset

from dicom_bridge import failures, query
from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import models
from dicom_bridge.dimse.models import STUDY_ROOT, Model
from dicom_bridge.dimse.portal import Portal
from dicom_bridge.dimse.said import said
from dicom_bridge.mapping import attributes, return_keys
from dicom_bridge.mapping.matching import NOT_MATCHED, text, vr_of
from dicom_bridge.mapping.return_keys import character_set_for
from dicom_bridge.query import Row
from fhir_server.context import RequestContext
from resources.errors import Invalid, Refusal

PENDING: Final = 0xFF00
PENDING_UNSUPPORTED: Final = 0xFF01
CANCELLED: Final = 0xFE00
"""PS3.4 Table C.4-1."""

AT_ONCE: Final = 500
"""Rows brought from the core before the first of them is sent."""
ABOUT_THE_QUERY: Final = NOT_MATCHED | {"QueryRetrieveLevel"}

Answers = Iterator[tuple[int | Dataset, Dataset | None]]

_log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """An identifier, read."""

    level: str
    keys: Mapping[str, str]
    """Keyword to value, of the level and the unique keys above it; sequences dotted."""
    is_supported: bool
    """Every key to be matched is one that we match."""


def worklist(event: Any, what: str, look: Callable[[Dataset], Iterable[Dataset]]) -> Answers:
    """Answer a worklist query, item by item, until there are no more or the peer cancels.

    Parameters
    ----------
    what
        What is asked, for the log.
    look
        Finds the items that match the identifier.
    """
    try:
        keys = said(event, "identifier")
        for item in look(keys):
            if event.is_cancelled:
                yield CANCELLED, None
                return
            yield PENDING, return_keys.answer(keys, item)
    except Refusal as refusal:
        yield failed(refusal), None
    except Exception:
        _log.exception("the %s of %s failed", what, event.assoc.sender.peer.ae)
        yield failed(Refusal("the worklist could not be answered")), None


def handle_find(event: Any, bridge: Bridge, portal: Portal) -> Answers:
    """Answer a C-FIND request, row by row, until there are no more or the peer cancels."""
    try:
        context = event.assoc.sender.context("C-FIND")
        identifier = said(event, "identifier")
        asked = read(identifier, models.of(event))
        status = PENDING if asked.is_supported else PENDING_UNSUPPORTED
        for row in _rows(rows_of(bridge, context, asked), portal):
            if event.is_cancelled:
                yield CANCELLED, None
                return
            yield status, answer(identifier, asked.level, row, bridge.ae_title)
    except Refusal as refusal:
        yield failed(refusal), None
    except Exception:
        _log.exception("C-FIND from %s failed", event.assoc.sender.peer.ae)
        yield failed(Refusal("the query could not be answered")), None


def read(identifier: Dataset, model: Model = STUDY_ROOT) -> Asked:
    """Read and check an identifier.

    Raises
    ------
    Invalid
        No level of this model, or a unique key above it is missing or is not one value.
    """
    level = models.level_of(identifier, model)
    above = model.unique[level][:-1]
    keys = dict(_keys(identifier))
    if any("\0" in key for key in keys.values()):
        raise Invalid("A key contains a NUL character")
    for keyword in above:
        if not keys.get(keyword) or any(mark in keys[keyword] for mark in "\\*?"):
            raise Invalid(f"{keyword} must have one value at this level", keyword)
    known = {
        name: key
        for name, key in keys.items()
        if name.split(".")[0] in models.KEYS[level] or name in above
    }
    unsupported = [name for name, key in keys.items() if key and name not in known]
    return Asked(level, known, not unsupported)


async def rows_of(
    bridge: Bridge, context: RequestContext, asked: Asked
) -> AsyncIterator[list[Row]]:
    """Bring the rows that match, many at a time."""
    above = ("PatientID", "StudyInstanceUID")
    if asked.level in ("PATIENT", "STUDY"):
        studies = attributes.studies(asked.keys)
        told: set[str] = set()
        async for batch in query.study_batches(bridge, context, studies):
            yield batch if asked.level == "STUDY" else list(_patients(batch, told))
        return
    study = {name: asked.keys[name] for name in above if name in asked.keys}
    own = {name: key for name, key in asked.keys.items() if name not in above}
    search = query.series if asked.level == "SERIES" else query.instances
    offset = 0
    while True:
        found = await search(bridge, context, study, own, query.Page(offset=offset))
        yield list(found.rows)
        offset += len(found.rows)
        if not found.more:
            return


def _patients(studies: Sequence[Row], told: set[str]) -> Iterator[Row]:
    """Give the patients of studies, each once: a row of a study has the attributes of both."""
    for row in studies:
        members = orjson.loads(row.json)
        patient = "\0".join(
            value
            for keyword in ("PatientID", "IssuerOfPatientID")
            for value in attributes.values(members.get(attributes.tag_of(keyword))) or [""]
        )
        if patient not in told:
            told.add(patient)
            yield row


def answer(identifier: Dataset, level: str, row: Row, ae_title: str) -> Dataset:
    """Pick from a row what the identifier asks for (PS3.4 Section C.4.1.1.3.2)."""
    members = orjson.loads(row.json)
    ds = Dataset()
    for element in identifier:
        if element.keyword in ABOUT_THE_QUERY or not element.keyword or element.tag.element == 0:
            continue
        if level == "PATIENT" and element.keyword not in models.PATIENT:
            ds.add_new(element.tag, element.VR, None)
            continue
        attribute = members.get(f"{int(element.tag):08X}")
        if element.VR == "SQ":
            whole = Dataset.from_json({f"{int(element.tag):08X}": attribute or {"vr": "SQ"}})
            ds.add(whole[element.tag])
        else:
            ds.add_new(element.tag, vr_of(element.keyword), attributes.values(attribute) or None)
    if level != "PATIENT":
        ds.StudyInstanceUID = row.study_uid
    if row.series_uid:
        ds.SeriesInstanceUID = row.series_uid
    ds.QueryRetrieveLevel = level
    ds.RetrieveAETitle = ae_title
    if (character_set := character_set_for(ds)) is not None:
        ds.SpecificCharacterSet = character_set
    return ds


def failed(refusal: Refusal) -> Dataset:
    """Say a refusal as a status with its comment (PS3.4 Table C.4-1, PS3.7 Annex C)."""
    status = Dataset()
    status.Status = failures.find_or_retrieve_status(refusal)
    status.ErrorComment = failures.comment(refusal)
    return status


def _keys(identifier: Dataset) -> Iterator[tuple[str, str]]:
    for element in identifier:
        keyword = element.keyword
        if keyword in ABOUT_THE_QUERY or not keyword:
            continue
        if element.VR != "SQ":
            yield keyword, text(element.value)
            continue
        for item in element.value or ():
            for inner, key in _keys(item):
                yield f"{keyword}.{inner}", key


def _rows(batches: AsyncIterator[list[Row]], portal: Portal) -> Iterator[Row]:
    """Bring the rows into this thread, batch by batch."""
    is_over = False
    try:
        while not is_over:
            batch, is_over = portal.call(_next(batches))
            yield from batch
    finally:
        if not is_over:
            portal.call(_close(batches))


async def _next(batches: AsyncIterator[list[Row]]) -> tuple[list[Row], bool]:
    """Bring the next rows, and say whether they are the last; rows are mostly few."""
    rows: list[Row] = []
    async for batch in batches:
        rows += batch
        if len(rows) >= AT_ONCE:
            return rows, False
    return rows, True


async def _close(batches: Any) -> None:
    await batches.aclose()
