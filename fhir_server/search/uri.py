"""URI parameters: compared as they are written, from end to end.

``:below`` finds what begins with a URL, ``:above`` what a URL begins with; both look at whole steps
of the path. A URN has no steps.

References
----------
* FHIR R4 search, "uri": "matches must be exact, case and accent sensitive"
"""

from collections.abc import Callable
from typing import Any

from fhir_server.search.escaping import plain
from resources.errors import Invalid


def read(text: str) -> str:
    """Read a URI, which needs no escapes but may have them."""
    return plain(text)


def sought(prefix: str, uri: str) -> list[str]:
    """The index term that a resource must have."""
    return [f"{prefix}={uri}"]


def read_url(text: str, code: str, modifier: str) -> str:
    """Read a URL for ``:above`` or ``:below``.

    Raises
    ------
    Invalid
        It is a URN, or no URL at all.
    """
    url = read(text)
    if "://" not in url:
        raise Invalid(f"{code}:{modifier} is asked for with a URL", at=code)
    return url


def above(url: str) -> list[str]:
    """Name every URL that a URL begins with, itself among them, with and without a last slash.

    Examples
    --------
    >>> above("http://a.example/b/c")
    ['http://a.example/b/c', 'http://a.example/b', 'http://a.example/b/', 'http://a.example', \
'http://a.example/']
    """
    scheme, _, rest = url.partition("://")
    steps = rest.rstrip("/").split("/")
    found = [url]
    for n in range(len(steps), 0, -1):
        shorter = f"{scheme}://{'/'.join(steps[:n])}"
        found += [shorter, f"{shorter}/"] if n < len(steps) else [shorter]
    return list(dict.fromkeys(found))


def index(prefix: str, element: Any, add: Callable[[str], None]) -> None:
    """Add the term of one element."""
    if element.__class__ is str:
        add(f"{prefix}={element}")
