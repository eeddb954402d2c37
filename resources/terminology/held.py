"""Held: questions about the codes that are held without anybody having stored them.

They need no database. What clients have stored is asked for through
`fhir_server.rest.operations.shelves`.

References
----------
* FHIR R4 terminology-service; FHIR R4 search, modifiers ``:in``, ``:not-in``, ``:above``,
  ``:below``
"""

from functools import lru_cache

from resources.errors import NotFound, Unsupported
from resources.terminology.library import HELD


@lru_cache(maxsize=256)
def value_set_codes(url: str) -> frozenset[tuple[str, str]] | None:
    """Give system and code of all in a value set; None if it is not held or cannot be listed.

    Parameters
    ----------
    url
        Its canonical URL, with or without ``|version``.

    Examples
    --------
    >>> sorted(code for _, code in value_set_codes("http://hl7.org/fhir/ValueSet/request-priority"))
    ['asap', 'routine', 'stat', 'urgent']
    >>> value_set_codes("http://example.org/ValueSet/none")
    """
    try:
        return frozenset(HELD.expansion(url))
    except (NotFound, Unsupported):
        return None


def descendants(system: str, code: str) -> frozenset[str]:
    """Give the codes that a code subsumes, and the code itself.

    Examples
    --------
    >>> act = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
    >>> {"TREAT", "ETREAT"} <= descendants(act, "PurposeOfUse")
    True
    >>> descendants("urn:nobody", "x")
    frozenset({'x'})
    """
    try:
        return HELD.code_system(system).descendants(code)
    except NotFound:
        return frozenset({code})


def ancestors(system: str, code: str) -> frozenset[str]:
    """Give the codes that subsume a code, and the code itself.

    Examples
    --------
    >>> "TREAT" in ancestors("http://terminology.hl7.org/CodeSystem/v3-ActReason", "ETREAT")
    True
    """
    try:
        return HELD.code_system(system).ancestors(code)
    except NotFound:
        return frozenset({code})
