"""What each step of a compiled path does with an item of parsed JSON.

References
----------
* FHIRPath 2.0.0, sections 3 (Path selection), 5 (Functions), 6 (Operations)
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Evaluate: TypeAlias = Callable[[Any], list[Any]]
"""One item -> the items it leads to."""


def chained(steps: tuple[Evaluate, ...]) -> Evaluate:
    """Do one after the other."""
    if len(steps) == 1:
        return steps[0]

    def follow(item: Any) -> list[Any]:
        found = [item]
        for step in steps:
            found = [each for one in found for each in step(one)]
        return found

    return follow


def joined(found: Sequence[Evaluate]) -> Evaluate:
    """Gather what each leads to (FHIRPath ``|``, duplicates kept)."""
    if len(found) == 1:
        return found[0]
    return lambda item: [each for find in found for each in find(item)]


def items(value: Any) -> list[Any]:
    """The items of a member, whether it repeats or not."""
    return value if value.__class__ is list else [value]


def members(names: tuple[str, ...]) -> Evaluate:
    """Go to the members of these names."""

    def find(item: Any) -> list[Any]:
        found: list[Any] = []
        if item.__class__ is dict:
            for name in names:
                value = item.get(name)
                if value is not None:
                    found += items(value)
        return found

    return find


def extension(url: str) -> Evaluate:
    """Go to the extensions of a URL (FHIR R4 fhirpath, ``extension(url)``)."""

    def find(item: Any) -> list[Any]:
        extensions = item.get("extension", ()) if item.__class__ is dict else ()
        return [each for each in extensions if each.get("url") == url]

    return find


def where(test: Evaluate) -> Evaluate:
    """Stay where a condition is true."""
    return lambda item: [item] if test(item) == [True] else []


def exists(find: Evaluate) -> Evaluate:
    """Say whether it leads anywhere."""
    return lambda item: [bool(find(item))]


def equals(find: Evaluate, literal: Any, wanted: bool) -> Evaluate:
    """Say whether one of the items is the literal, or none where that is `wanted`."""
    return lambda item: [(literal in find(item)) is wanted]


def iif(test: Evaluate, then: Evaluate, otherwise: Evaluate) -> Evaluate:
    """Go one way if a condition is true, else the other."""
    return lambda item: then(item) if test(item) == [True] else otherwise(item)


def constant(number: int) -> Evaluate:
    """Give a number, whatever the item."""
    return lambda item: [number]


def all_of(tests: list[Evaluate]) -> Evaluate:
    """Say whether all conditions are true."""
    return lambda item: [all(test(item) == [True] for test in tests)]


def nth(find: Evaluate, index: int) -> Evaluate:
    """Stay at one of the items, counted from 0."""
    return lambda item: find(item)[index : index + 1]


def is_of(type: str) -> Evaluate:
    """Tell the type of what a reference refers to, from the reference alone."""
    step = re.compile(rf"(^|/){type}/[^/]+(/_history/[^/]+)?$")

    def test(item: Any) -> list[Any]:
        if item.__class__ is not dict:
            return [False]
        reference = item.get("reference")
        if reference is None or reference[:1] == "#":
            return [item.get("type") == type]
        return [step.search(reference) is not None or item.get("type") == type]

    return test
