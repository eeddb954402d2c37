"""URI parameters: compared as they are written, from end to end.

References
----------
* FHIR R4 search, "uri": "matches must be exact, case and accent sensitive"
"""

from collections.abc import Callable
from typing import Any

from fhir_server.search.escaping import plain


def read(text: str) -> str:
    """Read a URI, which needs no escapes but may have them."""
    return plain(text)


def sought(prefix: str, uri: str) -> list[str]:
    """The index term that a resource must have."""
    return [f"{prefix}={uri}"]


def index(prefix: str, element: Any, add: Callable[[str], None]) -> None:
    """Add the term of one element."""
    if element.__class__ is str:
        add(f"{prefix}={element}")
