"""The DICOM conformance statement, ``docs/dicom-conformance.md``, from the tables the bridge obeys.

References
----------
* PS3.2 (Conformance): what a statement says
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID
from pynetdicom import evt

from dicom_bridge import failures, storage
from dicom_bridge.dicomweb import accept, router
from dicom_bridge.dimse import general_purpose, models, reactor, scp, scu, ups
from dicom_bridge.general_purpose import statuses as older
from dicom_bridge.mapping import attributes, worklist
from dicom_bridge.mapping.ups_attributes import REQUEST as UPS_REQUEST
from dicom_bridge.pixels import syntaxes
from dicom_bridge.spool import IMPLEMENTATION_CLASS_UID
from dicom_bridge.ups import statuses
from resources import errors
from resources.errors import Refusal

STATEMENT = (Path(__file__).with_suffix(".md")).read_text()

USED = (
    (scu.VERIFICATION, "C-ECHO", "`isocentre peer echo`"),
    (scu.FIND, "C-FIND", "`isocentre peer find`; what a destination of prefetch holds"),
    (scu.MOVE, "C-MOVE", "`isocentre peer retrieve`"),
    ("1.2.840.10008.1.20.1", "N-EVENT-REPORT", "the report of a storage commitment"),
    ("1.2.840.10008.5.1.4.34.6.4", "N-EVENT-REPORT", "events of Unified Procedure Steps"),
    ("1.2.840.10008.5.1.4.33", "N-CREATE", "instance availability, to peers that ask for it"),
)
"""What we ask of peers beside C-STORE, in the SCP role for the reports (PS3.4 J.3.3.1.2)."""

SHARED = {
    steps.EVERY: {
        evt.EVT_N_CREATE: steps.CREATED,
        evt.EVT_N_SET: steps.CHANGED,
        evt.EVT_N_GET: steps.READ,
        evt.EVT_N_ACTION: steps.ACTED,
        evt.EVT_C_FIND: steps.FOUND,
    }
    for steps in (ups, general_purpose)
}
"""The classes of Unified Procedure Steps share handlers, as do those of general purpose ones; not
each has each service."""

MEANING: Mapping[type[Refusal], str] = {
    errors.NotDicom: "the bytes are no instance, or end before their data set",
    errors.Invalid: "the data set contradicts itself or what was said of it",
    errors.Unsupported: "a SOP class or transfer syntax that is not below",
    errors.Unauthenticated: "who sends it is not known",
    errors.Forbidden: "the peer may not store, or not for this patient",
    errors.NotFound: "what is asked for is not here",
    errors.Conflict: "another object is held under this SOP Instance UID; both are kept",
    errors.Exhausted: "no room, or the database or the store of the pixels is away",
    errors.Refusal: "anything else",
}


def statement() -> str:
    """Give the text of ``docs/dicom-conformance.md``."""
    media: dict[str, list[str]] = {}
    for syntax, type in accept.FRAME_TYPES.items():
        media.setdefault(type, []).append(UID(syntax).name)
    return STATEMENT.format(
        implementation=IMPLEMENTATION_CLASS_UID,
        associations=reactor.MOST_ASSOCIATIONS,
        pdu=scp.MOST_PDU,
        provided=_rows(_provided()),
        used=_rows(
            (UID(uid).name, uid, services, when)
            for uid, services, when in (
                *USED,
                ("", "C-STORE", "sub-operations of C-MOVE, prefetch, and `isocentre peer send`"),
            )
        ),
        refusals=_rows(
            (f"{status:04X}", MEANING[kind]) for kind, status in failures.FAILURE_REASON.items()
        ),
        classes=_rows((UID(uid).name, uid) for uid in sorted(storage.SOP_CLASSES, key=_by_name)),
        syntaxes=_rows((UID(uid).name, uid) for uid in storage.TRANSFER_SYNTAXES),
        levels="\n\n".join(
            f"**{level}**: {_attributes(keys)}" for level, keys in models.KEYS.items()
        ),
        worklist=_attributes(_worklist()),
        request=_attributes(UPS_REQUEST),
        older=_rows((f"{one.code:04X}", one.sentence) for one in older.STATUSES),
        steps=_rows((f"{one.status:04X}", one.http, one.sentence) for one in statuses.FAILURES),
        transactions=_rows(
            (row.method, f"`{row.address}`", row.interaction) for row in router.TRANSACTIONS
        ),
        media=_rows((f"`{type}`", ", ".join(names)) for type, names in media.items()),
        returned="\n\n".join(
            f"**{level}**: {_attributes(keys)}"
            for level, keys in (
                ("studies", attributes.STUDY),
                ("series", attributes.SERIES),
                ("instances", attributes.INSTANCE),
            )
        ),
        transcoded=_rows(
            (UID(uid).name, "yes", "yes" if uid in syntaxes.ENCODED else "")
            for uid in sorted(syntaxes.DECODED, key=_by_name)
        ),
        more="\n\n".join(
            f"**{level}**: {_attributes(keys)}"
            for level, keys in (
                ("studies", attributes.STUDY_MORE),
                ("series", attributes.SERIES_MORE),
            )
        ),
    )


def _provided() -> Iterable[tuple[str, ...]]:
    """Every SOP class but those of storage, with its services."""
    services: dict[str, list[str]] = {}
    syntaxes: dict[str, str] = {}
    for row in scp.SERVICES:
        if row.event is evt.EVT_C_STORE:
            continue
        for uid in SHARED.get(row.sop_classes, {}).get(row.event, row.sop_classes):
            services.setdefault(uid, []).append(row.event.name[4:].replace("_", "-"))
            syntaxes[uid] = ", ".join(UID(one).name for one in row.transfer_syntaxes)
    for uid, names in services.items():
        yield UID(uid).name, uid, ", ".join(names), syntaxes[uid]


def _worklist() -> Iterable[str]:
    """The keywords of a worklist item, and those of its step."""
    nothing: Mapping[str, object] = {}
    step = worklist.Step({"id": "step"}, {"id": "request"}, nothing)
    return dict.fromkeys(_keywords(worklist.item(step, "ISOCENTRE")))


def _keywords(ds: Dataset) -> Iterable[str]:
    for element in ds:
        yield element.keyword
        if element.VR == "SQ":
            for item in element.value:
                yield from _keywords(item)


def _attributes(keywords: Iterable[str]) -> str:
    ordered = sorted((int(tag_for_keyword(keyword) or 0), keyword) for keyword in keywords)
    return ", ".join(f"{keyword} {Tag(tag)}" for tag, keyword in ordered)


def _by_name(uid: str) -> tuple[str, str]:
    return UID(uid).name, uid


def _rows(rows: Iterable[Iterable[object]]) -> str:
    return "\n".join(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)
