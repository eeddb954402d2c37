"""JSON Merge Patch: the members that shall be different, ``null`` for those that shall go.

FHIR does not name it among its patches and does not forbid it; clients of other servers send it.

References
----------
* RFC 7396 (JSON Merge Patch), Section 2
* FHIR http, "patch"
"""

from typing import Any


def apply(change: dict[str, Any], json: Any) -> Any:
    """Give what the JSON of a resource becomes; neither of the two is changed.

    Examples
    --------
    >>> apply({"gender": "other", "name": None}, {"gender": "male", "name": [], "id": "1"})
    {'gender': 'other', 'id': '1'}
    """
    merged = dict(json) if isinstance(json, dict) else {}
    for name, value in change.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            merged[name] = apply(value, merged.get(name))
        else:
            merged[name] = value
    return merged
