"""DICOM values to FHIR values, one pure function a kind.

References
----------
* PS3.5 Section 6.2 (value representations); PS3.3 Section 8.8 (code sequences), C.12.1 (Timezone)
* FHIR R4 Datatypes: dateTime, HumanName, Coding; PS3.16 Annex L (body parts)
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from resources import codes

HOME_ZONE: Final = "Europe/London"
"""Where a modality that does not say so is taken to stand (docs/representation.md)."""

DATE: Final = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})", re.ASCII)
TIME: Final = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?", re.ASCII)
OFFSET: Final = re.compile(r"([+-])(0\d|1[0-3]|14(?=00))([0-5]\d)", re.ASCII)
"""FHIR R4 dateTime has offsets up to 14 hours, as PS3.3 Section C.12.1.1.8."""

SEX: Final = {"M": "male", "F": "female", "O": "other"}
"""PS3.3 Section C.7.1.1; anything else is unknown."""

SCHEMES: Final = {
    "SCT": codes.SNOMED,
    "DCM": codes.DCM,
    "LN": codes.LOINC,
    "99NICIP": codes.NICIP,
}
"""Coding Scheme Designator to system (PS3.16 Table 8-1)."""

LATERALITY: Final = {
    "L": ("7771000", "Left"),
    "R": ("24028007", "Right"),
    "B": ("51440002", "Right and left"),
}

# PS3.16 Table L-1, Body Part Examined: SNOMED CT code and meaning.
BODY_PARTS: Final = {
    "ABDOMEN": ("818981001", "Abdomen"),
    "BRAIN": ("12738006", "Brain"),
    "BREAST": ("76752008", "Breast"),
    "CHEST": ("816094009", "Chest"),
    "CSPINE": ("122494005", "Cervical spine"),
    "FOOT": ("56459004", "Foot"),
    "HAND": ("85562004", "Hand"),
    "HEAD": ("69536005", "Head"),
    "HIP": ("24136001", "Hip joint"),
    "KNEE": ("72696002", "Knee"),
    "LSPINE": ("122496007", "Lumbar spine"),
    "NECK": ("45048000", "Neck"),
    "PELVIS": ("816092008", "Pelvis"),
    "SHOULDER": ("16982005", "Shoulder"),
    "TSPINE": ("122495006", "Thoracic spine"),
}


def as_date(date: str) -> str:
    """A DA as a FHIR date; empty when it is none.

    Examples
    --------
    >>> as_date("20260314"), as_date("20261314")
    ('2026-03-14', '')
    """
    found = DATE.fullmatch(date.strip())
    if found is None:
        return ""
    text = "-".join(found.groups())
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return ""
    return text


def as_datetime(date: str, time: str = "", offset: str = "") -> str:
    """Join a DICOM date, time and UTC offset into a FHIR dateTime; empty when there is no date.

    FHIR wants an offset whenever there is a time of day. Without one the modality is taken to
    stand in the United Kingdom: `lacks_offset` says so, for whoever must note it.

    Examples
    --------
    >>> as_datetime("20260314", "101530.25", "-0500"), as_datetime("20260714", "1015")
    ('2026-03-14T10:15:30-05:00', '2026-07-14T10:15:00+01:00')
    >>> as_datetime("20260314"), as_datetime("", "101530")
    ('2026-03-14', '')
    """
    day = as_date(date)
    found = TIME.fullmatch(time.strip()) if day else None
    if found is None:
        return day
    hour, minute, second = (part or "00" for part in found.groups()[:3])
    try:
        moment = datetime.fromisoformat(f"{day}T{hour}:{minute}:{second}")
    except ValueError:
        return day
    zone = _offset(offset) or _home_offset(moment)
    return f"{moment.isoformat()}{zone}" if zone else day


def lacks_offset(header: Mapping[str, Any]) -> bool:
    """Whether a study has a time of day and does not say where it was that time."""
    return bool(header.get("StudyTime")) and not _offset(header.get("TimezoneOffsetFromUTC", ""))


def as_human_name(name: str) -> dict[str, Any]:
    """The alphabetic group of a PN as HumanName (PS3.5 Section 6.2.1.1).

    Examples
    --------
    >>> as_human_name("Adams^John Robert^Q^Rev")
    {'family': 'Adams', 'given': ['John', 'Robert', 'Q'], 'prefix': ['Rev']}
    """
    parts = [part.strip() for part in name.split("=")[0].split("^")] + [""] * 5
    family, given, middle, prefix, suffix = parts[:5]
    made: dict[str, Any] = {"family": family} if family else {}
    for member, text in (("given", f"{given} {middle}"), ("prefix", prefix), ("suffix", suffix)):
        if words := text.split():
            made[member] = words
    return made


def as_gender(sex: str) -> str:
    """A Patient's Sex as AdministrativeGender."""
    return SEX.get(sex.strip().upper(), "unknown")


def as_coding(item: Mapping[str, Any]) -> dict[str, str] | None:
    """One item of a code sequence as Coding; None when it holds no code."""
    code = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue")
    if not code:
        return None
    coding = {"code": str(code)}
    scheme = str(item.get("CodingSchemeDesignator", ""))
    if scheme in SCHEMES:
        coding = {"system": SCHEMES[scheme], **coding}
    if meaning := item.get("CodeMeaning"):
        coding["display"] = str(meaning)
    return coding


def as_concepts(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A code sequence as CodeableConcepts, one an item."""
    return [{"coding": [coding]} for coding in map(as_coding, items) if coding]


def as_body_site(part: str) -> dict[str, str] | None:
    """Body Part Examined as Coding; a part the table does not know keeps its word."""
    return _snomed(BODY_PARTS, part.strip().upper())


def as_laterality(side: str) -> dict[str, str] | None:
    """Laterality as Coding; None for what is neither L, R nor B."""
    return _snomed(LATERALITY, side.strip().upper()) if side.strip() in LATERALITY else None


def _snomed(table: Mapping[str, tuple[str, str]], term: str) -> dict[str, str] | None:
    if term not in table:
        return {"display": term} if term else None
    code, display = table[term]
    return {"system": codes.SNOMED, "code": code, "display": display}


def _offset(offset: str) -> str:
    found = OFFSET.fullmatch(offset.strip())
    return f"{found[1]}{found[2]}:{found[3]}" if found else ""


def _home_offset(moment: datetime) -> str:
    """Give the offset in the United Kingdom; before it had one time, that of Greenwich."""
    try:
        delta = moment.replace(tzinfo=ZoneInfo(HOME_ZONE)).utcoffset() or timedelta()
    except ZoneInfoNotFoundError:
        return ""
    return f"+{max(0, int(delta.total_seconds()) // 3600):02d}:00"
