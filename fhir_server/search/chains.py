"""Chains, read: criteria on what a resource refers to, and on what refers to it.

``patient.name=x`` and ``focus:ImagingStudy.modality=CT`` go along a reference,
``_has:Provenance:target:agent=x`` against one, and each may follow the other. ``_list=x`` is
``_has:List:item:_id=x`` written short.

References
----------
* FHIR R4 search, "Chained Parameters": "the chained parameters are evaluated separately"
* FHIR R4 search, "Reverse Chaining"; "Searching Lists"
"""

from typing import Final

from fhir_server.search import parameters
from fhir_server.search.criterion import Chain, Criterion, Unusable
from resources.errors import Invalid, Unsupported
from resources.search_parameters import SearchParameter, parameter, types

MOST_HOPS: Final = 5
"""References that one chain follows."""

MOST_TYPES: Final = 12
"""Types that a step of a chain may lead to without saying which."""

MOST_LEAVES: Final = 60
"""Conditions that a chain through several types comes down to."""

ELSEWHERE: Final = frozenset({"AuditEvent"})
"""Types that are not kept with the others: no reference is followed to or from them."""


def criterion(type: str, name: str, text: str, own_base: str = "") -> Criterion:
    """Read one criterion: a parameter's name with modifier or chain, and its value.

    Examples
    --------
    >>> criterion("Task", "focus:ImagingStudy.modality", "CT").chain.type
    'ImagingStudy'
    >>> criterion("ServiceRequest", "_has:Task:focus:status", "ready").chain.back
    'focus'

    Raises
    ------
    Unusable
        This server has no such parameter, or nothing is asked of it.
    Invalid
        It is not written as the standard says.
    """
    head = name.removesuffix(".identifier")
    if type in ELSEWHERE and head.isalpha() and head != name:
        name = f"{head}:identifier"  # IHE ITI-81: as it stands in the event itself
    if name == "_list":
        return _listed(type, text, own_base)
    found = _read(type, name, text, own_base, MOST_HOPS)
    if found.leaves > MOST_LEAVES:
        raise Invalid(f"say which types {name} leads to: it may be too many", at=name)
    return found


def _read(type: str, name: str, text: str, own_base: str, hops: int) -> Criterion:
    is_back = name.startswith("_has:")
    head, dot, rest = name.partition(".")
    if not (is_back or dot):
        return parameters.plain(type, name, text, own_base)
    if not text:
        raise Unusable(f"the parameter {name} has no value", at=name, code="value")
    if hops == 0:
        raise Unsupported(f"a chain follows {MOST_HOPS} references at most", at=head)
    if is_back:
        return _back(type, name, text, own_base, hops)
    return _forth(type, head, rest, text, own_base, hops)


def _forth(type: str, head: str, rest: str, text: str, own_base: str, hops: int) -> Criterion:
    """Follow a reference to each of the types that it may lead to."""
    code, _, target = head.partition(":")
    found = parameters.known(type, code)
    if found.kind != "reference":
        raise Invalid(f"{code} of {type} is not a reference: nothing can follow it", at=code)
    if target and target not in (found.targets or types()):
        raise Invalid(f"{code} of {type} does not refer to {target}", at=code)
    ends = []
    refused: Invalid | Unsupported | None = None
    for each in [target] if target else _able(found, rest):
        try:
            if each in ELSEWHERE:
                raise Unusable(f"{each} is not followed by a chain", at=code, code="not-supported")
            end = _read(each, rest, text, own_base, hops - 1)
        except (Invalid, Unsupported) as refusal:
            refused = refused or refusal
        else:
            ends.append(Criterion(code, "reference", chain=Chain(each, end)))
    if not ends:
        raise refused or Unusable(
            f"nothing that {code} of {type} leads to has {rest}", at=code, code="not-supported"
        )
    return ends[0] if len(ends) == 1 else Criterion(code, "reference", either=tuple(ends))


def _able(found: SearchParameter, rest: str) -> list[str]:
    """Name the types that a reference may lead to and that know the next step of the chain."""
    inner = rest.partition(".")[0].partition(":")[0]
    able = [
        each
        for each in found.targets
        if each not in ELSEWHERE and (inner == "_has" or parameter(each, inner))
    ]
    if len(able) > MOST_TYPES or not found.targets:
        raise Invalid(
            f"say which type {found.code} leads to, as in {found.code}:Type.{rest}", at=found.code
        )
    return able


def _back(type: str, name: str, text: str, own_base: str, hops: int) -> Criterion:
    """Read ``_has:Type:reference:criterion``."""
    _, source, *further = name.split(":", 3)
    if len(further) < 2 or not all(further):
        raise Invalid("_has is written _has:Type:reference:parameter", at="_has")
    code, rest = further
    if source not in types() or source in ELSEWHERE:
        raise Unusable(f"{source} is not followed by _has", at="_has", code="not-supported")
    found = parameters.known(source, code)
    if found.kind != "reference":
        raise Invalid(f"{code} of {source} is not a reference", at="_has")
    if found.targets and type not in found.targets:
        raise Invalid(f"{code} of {source} does not refer to {type}", at="_has")
    end = _read(source, rest, text, own_base, hops - 1)
    return Criterion("_has", "reference", chain=Chain(source, end, code))


def _listed(type: str, text: str, own_base: str) -> Criterion:
    if text.startswith("$"):
        raise Unusable("functional lists are not kept here", at="_list", code="not-supported")
    end = parameters.plain("List", "_id", text, own_base)
    return Criterion("_list", "reference", chain=Chain("List", end, "item"))
