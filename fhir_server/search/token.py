"""Token parameters: codes, identifiers, flags.

A token is indexed once with its system (``=system|code``), once without (``=code``) and once for
the system alone (``=system|``), so that each of the four ways to ask is one look-up. Codes are
compared as they are written: most code systems are case sensitive.

A UID may be asked for with or without ``urn:oid:``: DICOM writes it bare, FHIR identifiers do not.

References
----------
* FHIR R4 search, "token"; the table of how each datatype is matched
* FHIR R4 imagingstudy, "urn:dicom:uid"
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from fhir_server.search.escaping import plain, split
from resources.errors import Invalid

_OID: Final = re.compile(r"(?:urn:oid:)?([0-2](?:\.(?:0|[1-9]\d*)){3,})")
_CONTACT_SYSTEMS: Final = frozenset({"phone", "fax", "email", "pager", "url", "sms", "other"})


class Token(NamedTuple):
    """What is asked for. No system: whatever the system. An empty one: none at all.

    No code: any code of the system.
    """

    system: str | None
    code: str | None


def read(text: str) -> Token:
    """Read ``system|code``, ``|code``, ``system|`` or ``code``.

    Examples
    --------
    >>> read("http://loinc.org|1-8"), read("1-8"), read("http://loinc.org|")
    (Token(system='http://loinc.org', code='1-8'), Token(system=None, code='1-8'), \
Token(system='http://loinc.org', code=None))
    """
    system, *code = split(text, "|")
    if not code:
        return Token(None, plain(system))
    return Token(plain(system), plain("|".join(code)) or None)


def sought(prefix: str, token: Token) -> list[str]:
    """The index terms of which a resource must have one.

    Examples
    --------
    >>> sought("IS.identifier", Token(None, "1.2.840.1"))
    ['IS.identifier=1.2.840.1', 'IS.identifier=urn:oid:1.2.840.1']
    """
    system, code = token
    if code is None:
        return [f"{prefix}={system}|"]
    oid = _OID.fullmatch(code)
    codes = (oid.group(1), f"urn:oid:{oid.group(1)}") if oid else (code,)
    if system is None:
        return [f"{prefix}={each}" for each in codes]
    return [f"{prefix}={system}|{each}" for each in codes]


def index(prefix: str, element: Any, add: Callable[[str], None]) -> None:
    """Add the terms of one element, whichever of the token datatypes it is.

    JSON names no types, so the members decide: a CodeableConcept has codings, a Coding a code,
    an Identifier or a ContactPoint a value. The namespace of a ContactPoint is its use.
    """
    kind = element.__class__
    if kind is str:
        add(f"{prefix}={element}")
        add(f"{prefix}=|{element}")
    elif kind is dict:
        codings = element.get("coding")
        if codings is not None:
            for coding in codings:
                _index_pair(prefix, coding.get("system"), coding.get("code"), add)
        elif "code" in element:
            _index_pair(prefix, element.get("system"), element["code"], add)
        elif "value" in element:
            system = element.get("system")
            _index_pair(
                prefix,
                element.get("use") if system in _CONTACT_SYSTEMS else system,
                element["value"],
                add,
            )
    elif kind is bool:
        index(prefix, "true" if element else "false", add)


def texts(element: Mapping[str, Any]) -> list[str]:
    """Give what ``:text`` looks at: CodeableConcept.text, Coding.display, Identifier.type.text."""
    found = [element.get("text"), element.get("display")]
    if "coding" in element:
        found += [coding.get("display") for coding in element["coding"]]
    if "type" in element and element["type"].__class__ is dict:
        found.append(element["type"].get("text"))
    return [each for each in found if each.__class__ is str]


def typed(element: Mapping[str, Any]) -> Iterator[str]:
    """Yield what ``:of-type`` looks at: ``system|code|value`` of each type of an Identifier."""
    kind = element.get("type")
    if kind.__class__ is dict and "value" in element:
        for coding in kind.get("coding", ()):
            yield f"{coding.get('system', '')}|{coding.get('code', '')}|{element['value']}"


def read_typed(text: str, code: str) -> tuple[str, str, str]:
    """Read ``system|code|value``.

    Raises
    ------
    Invalid
        It has not all three parts.
    """
    parts = [plain(each) for each in split(text, "|")]
    if len(parts) != 3 or not all(parts):
        raise Invalid(f"{code}:of-type is asked for with system|code|value", at=code)
    return parts[0], parts[1], parts[2]


def _index_pair(
    prefix: str, system: str | None, code: str | None, add: Callable[[str], None]
) -> None:
    if code is None:
        return
    add(f"{prefix}={code}")
    if system:
        add(f"{prefix}={system}|{code}")
        add(f"{prefix}={system}|")
    else:
        add(f"{prefix}=|{code}")
