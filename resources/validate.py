"""Validate a resource against FHIR R4: JSON in, issues out.

One walk over the JSON beside the shapes of `resources.structures`, which are compiled from the
standard's own StructureDefinitions. It tells unknown elements, wrong JSON types, cardinality,
formats, required bindings, targets of references, extensions, contained resources, the narrative
and the invariants of `resources.invariants`. It does not tell profiles, extensible bindings or
whether a reference leads somewhere.

Codes of the issues (FHIR issue-type):

============== =================================================================================
structure      an element nobody knows, or of the wrong JSON type, empty, or there twice
required       an element that must be there and is not
value          a value that is not one of its datatype, or a reference to a type that may not be
code-invalid   a code outside the value set of a required binding
invariant      a rule between elements; the text begins with its key
not-supported  a resource of a type that this server does not store
too-costly     nested too deep to be looked at
============== =================================================================================

References
----------
* FHIR JSON, "JSON representation of resources"; FHIR Validation; FHIR References, ref-1
"""

from collections.abc import Callable
from typing import Any, Final

from resources import contained, demands, narrative
from resources.content import Content
from resources.errors import Invalid, Issue
from resources.findings import EnoughError, Findings, Trail
from resources.models import TYPES
from resources.primitives import is_of_json_type
from resources.structures import Kind, Member, Shape, shape


def check(content: Content | dict[str, Any], *, at: str = "") -> list[Issue]:
    """Tell what is wrong with a resource; an empty list if nothing is.

    Parameters
    ----------
    at
        The FHIRPath of the resource, if it is part of a larger one: ``Bundle.entry[3].resource``.

    Examples
    --------
    >>> check({"resourceType": "ImagingStudy", "status": "done", "subject": {}})[0].at
    'ImagingStudy.status'
    """
    json = content.json if isinstance(content, Content) else content
    findings = Findings()
    try:
        _resource(json, (at or str(json.get("resourceType", "")),), findings)
    except RecursionError:
        return [Issue("too-costly", "Nested too deep.", at)]
    except EnoughError:
        pass
    return findings.issues


def require_valid(content: Content, *, at: str = "") -> None:
    """Refuse a resource with which anything is wrong.

    Raises
    ------
    Invalid
        With all that is.
    """
    if issues := check(content, at=at):
        raise Invalid(issues=issues)


def _resource(json: Any, trail: Trail, findings: Findings) -> None:
    """Check a resource that stands by itself: one stored, or one in a Bundle's entry."""
    name = _type_of(json, trail, findings)
    if name is None:
        return
    outer, findings.fragments = findings.fragments, []
    _part(shape(name), json, trail, findings)
    if findings.fragments:
        contained.check_fragments(json, findings)
    findings.fragments = outer


def _type_of(json: Any, trail: Trail, findings: Findings) -> str | None:
    if json.__class__ is not dict:
        findings.add("structure", "A resource is an object.", trail)
        return None
    name = json.get("resourceType")
    if not isinstance(name, str):
        findings.add("structure", "A resource says its resourceType.", trail)
    elif name not in TYPES:
        findings.add("not-supported", "There is no such resource type here.", trail)
    else:
        return name
    return None


def _part(own: Shape, element: dict[str, Any], trail: Trail, findings: Findings) -> None:
    """Check one object against its shape, and what is in it."""
    before = len(findings.issues)
    members = own.members or own.compile()
    values = own.values
    for name, value in element.items():
        test = values.get(name)
        if test is not None:
            try:
                if test(value):
                    continue
            except TypeError:
                pass
            _bad_value(members[name], value, trail, findings)
            continue
        member = members.get(name)
        if member is None:
            _unknown(name, trail, findings)
        elif member[0] == 3:  # Kind.PARTS
            if value.__class__ is list and value:
                _parts(member, value, trail, findings)
            else:
                findings.add("structure", _LIST, trail, member.name)
        elif member[0] == 2:  # Kind.PART
            _one_part(member, value, (trail, member[3], None), findings)
        else:
            _SELDOM[member.kind](member, element, value, trail, findings)
    if len(element) < 2 and (not element or "id" in element):
        findings.add("structure", "ele-1: An element has a value or children.", trail)
    if not own.is_plain:
        demands.completeness(own, element, trail, findings)
        if own.invariants and len(findings.issues) == before:
            demands.invariants(own, element, trail, findings)


_LIST: Final = "A list with at least one item is expected."


def _parts(member: Member, items: list[Any], trail: Trail, findings: Findings) -> None:
    shown = member.name
    for index, item in enumerate(items):
        _one_part(member, item, (trail, shown, index), findings)


def _one_part(member: Member, value: Any, here: Trail, findings: Findings) -> None:
    if value.__class__ is dict:
        _part(member[1], value, here, findings)
        if member[2]:
            demands.concept_or_target(member[2], value, here, findings)
    else:
        findings.add("structure", "An object is expected.", here)


def _unknown(name: str, trail: Trail, findings: Findings) -> None:
    known = name if name.isidentifier() and len(name) <= 64 else ""
    findings.add("structure", "There is no such element in R4.", trail, known)


def _bad_value(
    member: Member, value: Any, trail: Trail, findings: Findings, index: int | None = None
) -> None:
    here = (trail, member.name, index)
    if not is_of_json_type(value, member.datatype):
        findings.add("structure", f"Not the JSON of {_named(member.datatype)}.", here)
    elif member.bound:
        findings.add("code-invalid", "The code is not one of the required value set.", here)
    elif value == "":
        findings.add("structure", "A value is not empty.", here)
    else:
        findings.add("value", f"Not a valid {member.datatype}.", here)


def _named(datatype: str) -> str:
    """Put the article before the name of a datatype.

    Examples
    --------
    >>> _named("integer"), _named("uri"), _named("unsignedInt")
    ('an integer', 'a uri', 'an unsignedInt')
    """
    return f"{'an' if datatype[0] in 'aeio' or datatype.startswith('un') else 'a'} {datatype}"


_Check = Callable[[Member, dict[str, Any], Any, Trail, Findings], None]

# --- what is met seldom: lists of primitives, siblings, resources, the narrative ---------------


def _values(
    member: Member, element: dict[str, Any], items: Any, trail: Trail, findings: Findings
) -> None:
    if items.__class__ is not list or not items:
        findings.add("structure", _LIST, trail, member.name)
        return
    for index, item in enumerate(items):
        if item is None:
            continue  # told by the sibling, or by the lack of one, below
        try:
            good = member.test(item)
        except TypeError:
            good = False
        if not good:
            _bad_value(member, item, trail, findings, index)
    if None in items and not _has_siblings(element, items):
        findings.add("structure", "A null stands only beside an extension.", trail, member.name)


def _has_siblings(element: dict[str, Any], items: list[Any]) -> bool:
    """Tell whether some member ``_x`` is the list of siblings of these items."""
    return any(
        value is items and isinstance(element.get(f"_{name}"), list)
        for name, value in element.items()
    )


def _sibling(
    member: Member, element: dict[str, Any], value: Any, trail: Trail, findings: Findings
) -> None:
    here = (trail, member.name, None)
    if value.__class__ is not dict:
        findings.add("structure", "An object is expected.", here)
        return
    _adornment(member, value, member.datatype in element, here, findings)


def _siblings(
    member: Member, element: dict[str, Any], items: Any, trail: Trail, findings: Findings
) -> None:
    beside = element.get(member.datatype)
    if items.__class__ is not list or not items:
        findings.add("structure", _LIST, trail, member.name)
    elif beside.__class__ is list and len(beside) != len(items):
        findings.add("structure", "The two lists are not as long.", trail, member.name)
    else:
        values = beside if beside.__class__ is list else [None] * len(items)
        for index, (item, value) in enumerate(zip(items, values, strict=True)):
            here = (trail, member.name, index)
            if item.__class__ is dict:
                _adornment(member, item, value is not None, here, findings)
            elif item is not None:
                findings.add("structure", "An object is expected.", here)
            elif value is None:
                findings.add("structure", "Neither value nor extension.", here)


def _adornment(
    member: Member, value: dict[str, Any], has_value: bool, here: Trail, findings: Findings
) -> None:
    """Check the id and extensions of a primitive, which may stand without a value."""
    if has_value and value.keys() == {"id"}:
        return
    _part(member.test, value, here, findings)


def _nested_resource(
    member: Member, element: dict[str, Any], value: Any, trail: Trail, findings: Findings
) -> None:
    _resource(value, (trail, member.name, None), findings)


def _contained(
    member: Member, element: dict[str, Any], items: Any, trail: Trail, findings: Findings
) -> None:
    if items.__class__ is not list or not items:
        findings.add("structure", _LIST, trail, member.name)
        return
    pointers = contained.pointers(element)
    for index, item in enumerate(items):
        here = (trail, member.name, index)
        name = _type_of(item, here, findings)
        if name is None:
            continue
        _part(shape(name), item, here, findings)
        contained.check(item, pointers, here, findings)


def _narrative(
    member: Member, element: dict[str, Any], value: Any, trail: Trail, findings: Findings
) -> None:
    if value.__class__ is not str:
        findings.add("structure", "Not the JSON of an xhtml.", trail, member.name)
    elif fault := narrative.fault(value):
        findings.add("invariant", fault, trail, member.name)


_SELDOM: Final[dict[int, _Check]] = {
    Kind.VALUES: _values,
    Kind.SIBLING: _sibling,
    Kind.SIBLINGS: _siblings,
    Kind.RESOURCE: _nested_resource,
    Kind.CONTAINED: _contained,
    Kind.NARRATIVE: _narrative,
}
