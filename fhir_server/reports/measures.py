"""Tables: what is counted, and by what.

An act counts once, for the organisation that did it, at its first time: images that come in a
second month, or a report that is corrected, are not acquired or reported again. So what one month
says can be charged for, and the months of a year add up.

References
----------
* R014.2, R014.4 of the requirements: who requested, acquired, reported, reviewed; charging
* FHIR R4 Provenance.activity; docs/governance.md, "Counting"
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from resources import codes
from resources.codes import Coding
from resources.errors import Invalid


class Act(NamedTuple):
    """A measure counted in Provenance: resources of a type that an activity was first done to.

    Parameters
    ----------
    having, lacking
        A search term that the resource must have as it is now, or must not; empty for none.
    study
        Prefix of the search term that names the study; empty where there is none.
    """

    measure: str
    title: str
    activities: tuple[Coding, ...]
    target: str
    having: str = ""
    lacking: str = ""
    study: str = ""


_ISSUED: Final = (codes.LEGALLY_AUTHENTICATED,)
_REVIEWS: Final = (codes.REVIEW_FORMAL, codes.REVIEW_INFORMAL, codes.MDT_REVIEW)
_DONE: Final = "T.status=completed"
_ADDS: Final = "DR.addendum-of="
_OF_REPORT: Final = "DR.imagingStudy="

ACTS: Final = (
    Act("requested",    "Procedures requested",        (codes.CREATED,),     "ServiceRequest"),
    Act("acquired",     "Studies acquired",            (codes.ACQUIRE,),     "ImagingStudy"),
    Act("reported",     "Reports issued",              _ISSUED,              "DiagnosticReport",
        lacking=_ADDS, study=_OF_REPORT),
    Act("addended",     "Addenda issued",              _ISSUED,              "DiagnosticReport",
        having=_ADDS, study=_OF_REPORT),
    Act("reviewed",     "Reviews completed",           _REVIEWS,             "Task",
        having=_DONE, study="T.focus="),
    Act("acknowledged", "Acknowledgements of reports", (codes.ACKNOWLEDGE,), "Task",
        having=_DONE),
)  # fmt: skip
"""A term that ends in ``=`` stands for all that begin with it."""


class Access(NamedTuple):
    """A measure counted in the ledger: rows of some kinds of `KINDS`.

    Parameters
    ----------
    distinct
        Each study counts once, however many of its objects were moved.
    crossing
        Only what another organisation had created.
    """

    measure: str
    title: str
    kinds: tuple[str, ...]
    distinct: bool = False
    crossing: bool = False


KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "in":   ("C-STORE", "STOW-RS", "import"),
    "out":  ("C-GET", "C-MOVE", "export"),
    "seen": ("read", "vread", "history-instance", "operation", "WADO-RS"),
}  # fmt: skip
"""Kind -> interactions of `audit.events`. An emergency access is a login of its own kind."""

EMERGENCY: Final = "emergency"
OPENED: Final = "emergency access opened"
"""What the ledger says of the login that is one."""

ACCESSES: Final = (
    Access("transferred", "Studies transferred",           ("in", "out"), distinct=True),
    Access("accessed",    "Accesses to patients' records", ("seen", "out")),
    Access("crossed",     "Accesses to what another organisation created",
           ("seen", "out"), crossing=True),
    Access("emergency",   "Emergency accesses opened",     (EMERGENCY,)),
)  # fmt: skip

MEASURES: Final[Mapping[str, str]] = {
    **{row.measure: row.title for row in ACTS},
    **{row.measure: row.title for row in ACCESSES},
}

Dimension = Literal["organization", "creator", "person", "role", "purpose", "modality", "period"]

DIMENSIONS: Final[Mapping[str, str]] = {
    "organization": "Organisation that did it",
    "creator":      "Organisation that had created it",
    "person":       "Person or system that did it",
    "role":         "Role they did it in",
    "purpose":      "Purpose of use",
    "modality":     "Modality of the study",
    "period":       "Period",
}  # fmt: skip


class Asked(NamedTuple):
    """What is to be counted.

    Parameters
    ----------
    low, high
        Microseconds since 1970 UTC; what happened from `low` on and before `high`.
    measures
        Keys of `MEASURES`.
    by
        Keys of `DIMENSIONS`: each combination is counted by itself, and all of it in total.
    period
        A key of `periods.PERIODS`, for the dimension of that name.
    starts
        Where these begin, the first at or before `low`.
    """

    low: int
    high: int
    measures: tuple[str, ...] = tuple(MEASURES)
    by: tuple[str, ...] = ("organization",)
    period: str = ""
    starts: tuple[int, ...] = ()


class Line(NamedTuple):
    """One count.

    Parameters
    ----------
    values
        One for each dimension asked for, empty where it is not known; None for the total.
    """

    measure: str
    values: tuple[str, ...] | None
    number: int


def known(name: str, value: str, table: Mapping[str, object]) -> str:
    """Take a word that a table has.

    Raises
    ------
    Invalid
        It has not.
    """
    if value not in table:
        raise Invalid(f"{name} is one of {', '.join(table)}.", name, "value")
    return value
