"""What goes into an operation, and what comes out: Parameters, in their several forms.

A GET gives its parameters in the query. A POST gives them as a Parameters resource, or, where the
operation takes one, as the resource alone. A parameter that the operation does not know is refused,
since ignoring it would answer another question.

References
----------
* FHIR R4 operations, "Executing an Operation Synchronously"; Parameters
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from fhir_server.rest import negotiate
from fhir_server.rest.exchange import Request
from resources import content, validate
from resources.content import Content
from resources.errors import Invalid

COMMON: Final = frozenset({"_format", "_pretty"})
"""Parameters of the answer, which any operation may have in its query."""


class Given:
    """The parameters of one call, by name.

    Parameters
    ----------
    values
        Of each name what was given, in order: text from a query, JSON from Parameters.
    """

    def __init__(self, values: Mapping[str, list[Any]]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def all(self, name: str) -> list[Any]:
        """All values of a name."""
        return self._values.get(name, [])

    def one(self, name: str) -> Any:
        """The value of a name that may be there once, or None.

        Raises
        ------
        Invalid
            It is there more often.
        """
        values = self.all(name)
        if len(values) > 1:
            raise Invalid(f"The parameter {name} may be there once.", name, "invalid")
        return values[0] if values else None

    def text(self, name: str) -> str:
        """The one value as text; empty if it is not there."""
        value = self.one(name)
        if isinstance(value, bool):
            return str(value).lower()
        if value is not None and not isinstance(value, str | int):
            raise Invalid(f"The parameter {name} is a simple value.", name, "structure")
        return "" if value is None else str(value)

    def listed(self, name: str) -> list[str]:
        """All values as text, those separated by commas apart."""
        return [part for value in self.all(name) for part in str(value).split(",") if part]

    def number(self, name: str, most: int) -> int | None:
        """The one value as a whole number from 0 to `most`; more than that is `most`."""
        text = self.text(name)
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 12):
            raise Invalid(f"The parameter {name} is a whole number, 0 or more.", name, "value")
        return min(int(text), most)

    def object(self, name: str) -> dict[str, Any]:
        """The one value as an element or resource; empty if it is not there."""
        value = self.one(name)
        if value is not None and not isinstance(value, dict):
            raise Invalid(f"The parameter {name} is not a simple value.", name, "structure")
        return value or {}


def read(request: Request, known: Iterable[str]) -> Given:
    """Read the parameters of a call.

    Raises
    ------
    Invalid
        A parameter that the operation does not know, or Parameters that are not valid.
    """
    names = frozenset(known)
    values: dict[str, list[Any]] = {}
    for name, value in request.pairs():
        if name not in COMMON:
            values.setdefault(name, []).append(value)
    if body := _body(request):
        _from_body(body, names, values)
    unknown = sorted(values.keys() - names)
    if unknown:
        raise Invalid("The operation has no such parameter.", unknown[0], "not-supported")
    return Given(values)


def _body(request: Request) -> Content | None:
    if request.content is not None:
        return request.content
    if not request.body:
        return None
    negotiate.check_content(request.headers.get("content-type"))
    return content.read(request.body)


def _from_body(body: Content, known: frozenset[str], values: dict[str, list[Any]]) -> None:
    if not _are_parameters(body):
        if "resource" not in known and "valueSet" not in known:
            raise Invalid("The body of this operation is Parameters.", body.type, "invalid")
        name = "resource" if "resource" in known else "valueSet"
        values.setdefault(name, []).append(body.json)
        return
    bare = [
        {**each, "resource": {"resourceType": "Parameters"}} if _has_resource(each) else each
        for each in body.json.get("parameter", ())
    ]
    frame = {**body.json, **({"parameter": bare} if bare else {})}
    if issues := validate.check(frame):
        raise Invalid(issues=issues)
    for each in body.json.get("parameter", ()):
        value = next((v for k, v in each.items() if k == "resource" or k[:5] == "value"), None)
        if value is None:
            raise Invalid("The parameter has no value.", str(each.get("name")), "required")
        values.setdefault(each["name"], []).append(value)


def _are_parameters(body: Content) -> bool:
    """Tell the Parameters of a call from a Parameters resource that is to be looked at."""
    return body.type == "Parameters"


def _has_resource(each: Any) -> bool:
    return isinstance(each, dict) and isinstance(each.get("resource"), dict)


def written(rows: Iterable[tuple[str, str, Any]]) -> bytes:
    """Write the Parameters that come out: name, type and value; what is None is left out.

    Examples
    --------
    >>> written([("result", "Boolean", True), ("message", "String", None)])
    b'{"resourceType":"Parameters","parameter":[{"name":"result","valueBoolean":true}]}'
    """
    listed = [
        {"name": name, f"value{type}": value} if type else {"name": name, "part": value}
        for name, type, value in rows
        if value is not None
    ]
    return orjson.dumps({"resourceType": "Parameters", "parameter": listed})
