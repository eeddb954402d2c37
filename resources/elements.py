"""The common shapes inside resources: codings, extensions, references, notes; read and set.

References
----------
* FHIR R4 Datatypes (CodeableConcept, Coding, Annotation); Extensibility; References
"""

from collections.abc import Iterable, Mapping
from typing import Any

from resources import codes

Json = Mapping[str, Any]


def concept(system: str, code: str, display: str = "") -> dict[str, Any]:
    """A CodeableConcept of one coding."""
    coding = {"system": system, "code": code}
    return {"coding": [{**coding, "display": display} if display else coding]}


def code_in(value: Json | None, system: str) -> str | None:
    """The code of a CodeableConcept in a code system, or None.

    Examples
    --------
    >>> code_in({"coding": [{"system": "a", "code": "x"}, {"system": "b", "code": "y"}]}, "b")
    'y'
    """
    for coding in (value or {}).get("coding", ()):
        if coding.get("system") == system:
            return str(coding.get("code"))
    return None


def words(value: Json | None) -> str:
    """A CodeableConcept for a person: its text, else a display, else a code."""
    value = value or {}
    codings = value.get("coding", ())
    displays = [coding["display"] for coding in codings if "display" in coding]
    names = [coding["code"] for coding in codings if "code" in coding]
    return str(next(iter((*([value["text"]] if "text" in value else []), *displays, *names)), ""))


def extension_value(element: Json, url: str) -> Any:
    """The value of the first extension of that name, whatever its type, or None."""
    for extension in element.get("extension", ()):
        if extension.get("url") == url:
            return next((v for k, v in extension.items() if k.startswith("value")), None)
    return None


def with_extension(element: Json, url: str, value: Json) -> dict[str, Any]:
    """The element with one extension of that name; another of that name is replaced in its place.

    Examples
    --------
    >>> with_extension({"extension": [{"url": "a"}, {"url": "b"}]}, "a", {"valueCode": "x"})
    {'extension': [{'url': 'a', 'valueCode': 'x'}, {'url': 'b'}]}
    """
    made = {"url": url, **value}
    held = list(element.get("extension", ()))
    places = [at for at, one in enumerate(held) if one.get("url") == url]
    if not places:
        return {**element, "extension": [*held, made]}
    kept = [one for at, one in enumerate(held) if at not in places[1:]]
    kept[places[0]] = made
    return {**element, "extension": kept}


def references(value: object) -> list[str]:
    """The literal references in an element that is a Reference, a list of them, or missing."""
    items: Iterable[Any] = value if isinstance(value, list) else [value]
    return [
        item["reference"] for item in items if isinstance(item, Mapping) and "reference" in item
    ]


def is_reference_to(reference: str, type_and_id: str) -> bool:
    """Whether a literal reference names a resource, in whatever version.

    Examples
    --------
    >>> is_reference_to("ImagingStudy/1/_history/2", "ImagingStudy/1")
    True
    """
    return unversioned(reference) == type_and_id


def unversioned(reference: str) -> str:
    """``Type/id`` of a literal reference.

    Examples
    --------
    >>> unversioned(codes.BASE + "/Task/1/_history/2")
    'Task/1'
    """
    return reference.removeprefix(codes.BASE + "/").partition("/_history/")[0]


def notes(resource: Json) -> list[Json]:
    """Annotations that say something."""
    return [note for note in resource.get("note", ()) if note.get("text")]
