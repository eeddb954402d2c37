"""Origin of an object: which organisation created it, and when; and how we know.

An object says of the equipment that made it at which institution it stands, by code or by name.
Where the directory knows that institution, it is the source; else the organisation that sent the
object answers for it, under the name that the object gives. Contributing Equipment tells of the
makers of what an object was derived from or passed through, not of the object's own.

References
----------
* PS3.3 Section C.7.5.1 (General Equipment): Institution Name, Institution Code Sequence
* PS3.3 Section C.12.1 (SOP Common): Instance Creation Date and Time; C.7.6.1 (Content Date, Time)
* docs/representation.md, "Who created it, and when"; requirements R015.1, R015.2
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from dicom_bridge.mapping import convert
from resources import codes

ODS_SCHEMES: Final = frozenset({"ODS", "99ODS"})
"""Coding Scheme Designators (PS3.16 Section 8) under which an institution's ODS code is taken."""

APART: Final = timedelta(hours=1)
"""An object says when it was created if that is so long after or before its series began."""

MOST_LO: Final = 64
"""PS3.5 Table 6.2-1: characters of an LO."""


class Claim(NamedTuple):
    """Who sent an object, and which institution the object says it was made at."""

    sender: str
    code: str
    name: str


class Source(NamedTuple):
    """Who created an object.

    Parameters
    ----------
    organization
        Id of the Organization that created it, or that answers for it.
    name
        How it is called: by the directory, or by the object.
    basis
        Which rule said so: institution-code, institution-name or sender.
    """

    organization: str
    name: str
    basis: str

    @property
    def extensions(self) -> list[dict[str, Any]]:
        """As extensions of a series or an instance."""
        reference = {"reference": f"Organization/{self.organization}"}
        if self.name:
            reference["display"] = self.name
        return [
            {"url": codes.SOURCE_ORGANIZATION, "valueReference": reference},
            {"url": codes.SOURCE_BASIS, "valueCode": self.basis},
        ]


Sources = Mapping[Claim, Source]


def claim_of(sender: str, header: Mapping[str, Any]) -> Claim:
    """Read what an object claims.

    Examples
    --------
    >>> claim_of("lead", {"InstitutionName": " Westvale "})
    Claim(sender='lead', code='', name='Westvale')
    """
    coded = [
        str(item.get("CodeValue", "")).strip()
        for item in header.get("InstitutionCodeSequence") or ()
        if item.get("CodingSchemeDesignator") in ODS_SCHEMES
    ]
    name = str(header.get("InstitutionName", "")).partition("\\")[0].strip()
    return Claim(sender, coded[0] if coded else "", name)


def source_of(sender: str, header: Mapping[str, Any], sources: Sources) -> Source:
    """Say who created an object; where nothing was found of its claim, by its sender."""
    claim = claim_of(sender, header)
    return sources.get(claim) or Source(sender, claim.name, "sender")


def created(header: Mapping[str, Any]) -> str:
    """When an object was created, as a FHIR dateTime; empty when it does not say.

    Examples
    --------
    >>> created({"ContentDate": "20260314", "ContentTime": "1015"})
    '2026-03-14T10:15:00+00:00'
    """
    offset = str(header.get("TimezoneOffsetFromUTC", ""))
    for name in ("InstanceCreation", "Content", "Series", "Study"):
        date, time = (str(header.get(f"{name}{part}", "")) for part in ("Date", "Time"))
        if found := convert.as_datetime(date, time, offset):
            return found
    return ""


def when(instant: str) -> list[dict[str, Any]]:
    """As an extension; none where nothing is known."""
    return [{"url": codes.SOURCE_INSTANT, "valueDateTime": instant}] if instant else []


def is_apart(own: str, of_series: str) -> bool:
    """Whether an object was created at another time than its series, as a person would say.

    Examples
    --------
    >>> is_apart("2026-03-14T10:15:00+00:00", "2026-03-14T10:15:09+00:00")
    False
    >>> is_apart("2026-03-14", "2026-03-14T10:15:09+00:00"), is_apart("2026-03-15", "2026-03-14")
    (False, True)
    """
    if not own or not of_series:
        return bool(own)
    if len(own) == 10 or len(of_series) == 10:
        return own[:10] != of_series[:10]
    return abs(datetime.fromisoformat(own) - datetime.fromisoformat(of_series)) > APART


def institution(names: Iterable[str]) -> str:
    """The one value of Institution Name for what several organisations created.

    Examples
    --------
    >>> institution(["Westvale", "Westvale"]), institution(["Westvale", "Northmoor", "Harbour"])
    ('Westvale', 'Westvale and 2 others')
    """
    first, *others = list(dict.fromkeys(name for name in names if name)) or [""]
    more = f" and {len(others)} other{'s' * (len(others) > 1)}" if others else ""
    return first.replace("\\", "/")[: MOST_LO - len(more)] + more
