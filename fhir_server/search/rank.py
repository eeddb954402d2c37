"""``priority-rank``: urgency as a number, worked out of the term of `priority`.

Nothing is indexed for it: what is written most often, requests and tasks, costs no row more.

References
----------
* FHIR R4 request-priority: stat before asap before urgent before routine
* our SearchParameter ``Task-priority-rank``, whose expression says the same
"""

from typing import Final

from resources.search_parameters import PRIORITY_RANK

RANKS: Final = {"stat": 1, "asap": 2, "urgent": 3}
OTHERWISE: Final = 4
"""Routine, and where nothing is said (FHIR R4: "normal priority")."""

TYPES: Final = frozenset({"ServiceRequest", "Task"})


def is_ranked(type: str, code: str) -> bool:
    """Whether this parameter is the rank of this type."""
    return code == PRIORITY_RANK and type in TYPES


def expression(initials: str, alias: str) -> str:
    """Write the rank of a row of `current`, in SQL.

    Parameters
    ----------
    initials
        Of the type, with which its terms begin.
    alias
        What the row is called.
    """
    cases = " ".join(
        f"when '{initials}.priority={code}' = any({alias}.terms) then {rank}"
        for code, rank in RANKS.items()
    )
    return f"(case {cases} else {OTHERWISE} end)"
