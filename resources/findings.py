"""Findings: what a walk over a resource has found, and where.

A walk notes many places and tells few, so a place is a cheap trail of tuples and becomes a FHIRPath
only in an issue.
"""

from typing import Any, Final

from resources.errors import Issue

Trail = tuple[Any, ...]
"""(trail of the parent, element name, index or None); the trail of the root is (its path,)."""


MOST_ISSUES: Final = 100
"""No more are told: a sender with a hundred mistakes has one."""


class EnoughError(Exception):
    """So much is wrong that nobody need look further."""


class Findings:
    """The issues so far, and the fragments (``#x``) whose targets are still to be seen."""

    __slots__ = ("fragments", "issues")

    def __init__(self) -> None:
        self.issues: list[Issue] = []
        self.fragments: list[tuple[str, frozenset[str], Trail]] = []

    def add(self, code: str, text: str, trail: Trail, name: str = "") -> None:
        """Note one thing wrong at a place, or at an element of that name in it.

        Raises
        ------
        EnoughError
            It was the last that is told.
        """
        path = path_of(trail)
        self.issues.append(Issue(code, text, f"{path}.{name}" if name else path))
        if len(self.issues) >= MOST_ISSUES:
            raise EnoughError


def path_of(trail: Trail) -> str:
    """Write a trail as FHIRPath.

    Examples
    --------
    >>> path_of(((("ImagingStudy",), "series", 0), "uid", None))
    'ImagingStudy.series[0].uid'
    """
    steps: list[str] = []
    while len(trail) == 3:
        trail, name, index = trail
        steps.append(name if index is None else f"{name}[{index}]")
    return ".".join([trail[0], *reversed(steps)])
