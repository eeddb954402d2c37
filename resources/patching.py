"""Patching: a change of a resource that leaves every byte alone that it does not touch.

What the operations touch is parsed with its digits: ``1.50`` stays ``1.50``. Of the resource, only
the top-level members that have changed are written anew.

A narrative that was generated from the data no longer says what they say once they have changed;
it goes. One that says more than the data is for its author to change: "The server SHALL ensure
that the narrative in a resource is not clinically unsafe after the PATCH operation is performed".

References
----------
* FHIR http, "patch"; FHIR narrative-status; docs/adr/0018
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgspec

from resources import content
from resources.content import Content
from resources.errors import Invalid, Unprocessable

Change = Callable[[Any], Any]
"""Takes the JSON of a resource, which it may change, and gives the JSON that it becomes."""

FIXED: Final = ("resourceType", "id")
"""Members that say which resource it is."""

GENERATED: Final = frozenset({"generated", "extensions", "empty"})
"""Statuses of a narrative that says nothing but what the data say."""

APART: Final = frozenset({"text", "meta", "implicitRules", "language"})
"""Members that a narrative does not tell of."""

_exact: Final = msgspec.json.Decoder(float_hook=Decimal)
_written: Final = msgspec.json.Encoder(decimal_format="number")
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def exact(text: bytes) -> Any:
    """Parse JSON that `content.parsed` has accepted, with the digits of its decimals.

    Examples
    --------
    >>> exact(b'{"value": 1.50}')
    {'value': Decimal('1.50')}
    """
    return _exact.decode(text)


def patched(before: Content, change: Change) -> Content:
    """Give a resource as a change makes it; it is still to be checked.

    Raises
    ------
    Invalid
        The change makes another resource of it, or nests it without end.
    Unprocessable
        Its narrative says more than its data, and the change forgets about it.
    """
    try:
        return _patched(before, change)
    except RecursionError:
        raise Invalid("The patch nests too deep.", code="too-costly") from None


def _patched(before: Content, change: Change) -> Content:
    was = exact(before.text)
    after = change(exact(before.text))
    if not isinstance(after, dict):
        raise Invalid("A patch leaves a resource.", code="structure")
    for name in FIXED:
        if after.get(name) != was.get(name):
            raise Invalid(f"A patch does not change the {name}.", f"{before.type}.{name}", "value")
    changed = {name for name in {*was, *after} if _differ(name, was, after)}
    if changed - APART and "text" not in changed and "text" in was:
        _drop_narrative(before, after)
        changed.add("text")
    raws = _members.decode(before.text)
    for name in (*was, *after):
        if name in changed and name in after:
            raws[name] = msgspec.Raw(_written.encode(after[name]))
        elif name in changed:
            raws.pop(name, None)
    return content.read(_written.encode(raws))


def _differ(name: str, one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two texts of a member differ, were it only by the digits of a decimal."""
    if name not in one or name not in other:
        return True
    return _written.encode(one[name]) != _written.encode(other[name])


def _drop_narrative(before: Content, after: dict[str, Any]) -> None:
    text = after.get("text")
    if isinstance(text, dict) and text.get("status") not in GENERATED:
        raise Unprocessable(
            "The narrative says more than the data: the patch must change it too.",
            f"{before.type}.text",
        )
    after.pop("text", None)
