"""Emergency access: one clinician, one patient, for a reason that is kept, at most an hour.

Who has it reads what there is of that patient, whatever organisation wrote it and whatever the
patient or a label keeps from others, and nothing of anybody else. It is theirs alone: their
colleagues see what they saw before. It lets nobody write, because what is written makes
relations that outlast it; who has to act refers the patient.

HL7 v3 ActReason ETREAT (emergency treatment), BTG (break the glass).
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from resources import codes
from resources.codes import Coding
from resources.errors import Forbidden, Invalid

LONGEST_SECONDS: Final = 3600
SHORTEST_TEXT: Final = 10
LONGEST_TEXT: Final = 500
"""Characters of what somebody says in their own words."""

ROLES: Final = frozenset({"referrer", "practitioner", "operator", "reporter", "reviewer"})
"""Who may ask for it: those who treat, image or report (R014.1)."""

LETTERS: Final = "rs"

REASONS: Final[Mapping[str, Coding]] = {
    reason.code: reason
    for reason in (
        codes.LIFE_IN_DANGER,
        codes.CANNOT_ASK,
        codes.EMERGENCY_TRANSFER,
        codes.SAFEGUARDING,
    )
}
"""The reasons that may be given; CodeSystem `codes.EMERGENCY_REASON`."""

_SEPARATOR: Final = "|"


class Emergency(NamedTuple):
    """An emergency access.

    Parameters
    ----------
    id
        Of the Task by which it is looked at afterwards.
    reason
        A key of `REASONS`.
    until
        When it ends, in microseconds since 1970 UTC.
    """

    id: str
    reason: str
    until: int

    @classmethod
    def read(cls, claim: Any) -> "Emergency":
        """Read the claim of a token.

        Raises
        ------
        Invalid
            It is not one that `claim` writes.
        """
        if not isinstance(claim, dict) or set(claim) != set(cls._fields):
            raise Invalid("no emergency access is like that")
        found = cls(**claim)
        if not isinstance(found.id, str) or type(found.until) is not int:
            raise Invalid("no emergency access is like that")
        if found.reason not in REASONS:
            raise Invalid("there is no such reason for emergency access")
        return found

    @property
    def claim(self) -> dict[str, Any]:
        """As a token carries it."""
        return self._asdict()


def check_role(role: str) -> None:
    """Refuse emergency access to a role that has none.

    Raises
    ------
    Forbidden
        It is not one of `ROLES`.
    """
    if role not in ROLES:
        raise Forbidden(f"a {role} has no emergency access", step="emergency")


def check(reason: str, text: str) -> str:
    """Check what is given as a reason; give the text as it is kept.

    Raises
    ------
    Invalid
        The reason is not in the table, or the text says too little or too much.
    """
    if reason not in REASONS:
        raise Invalid("Choose one of the reasons.")
    said = " ".join(text.split())
    if not SHORTEST_TEXT <= len(said) <= LONGEST_TEXT:
        raise Invalid(f"Say why, in {SHORTEST_TEXT} to {LONGEST_TEXT} characters.")
    return said


def told(role: str, emergency: Emergency | None) -> str:
    """Say in which role somebody acts, as the ledger keeps it.

    Examples
    --------
    >>> told("referrer", Emergency("x", "life", 0)), told("referrer", None)
    ('referrer|life', 'referrer')
    """
    return role if emergency is None else f"{role}{_SEPARATOR}{emergency.reason}"


def read_told(told: str) -> tuple[str, Coding | None]:
    """Give role and reason of what `told` says."""
    role, _, reason = told.partition(_SEPARATOR)
    return role, REASONS.get(reason)
