"""The Task by which a person is asked to look at what does not fit together.

References
----------
* docs/representation.md, "From objects to the ImagingStudy"
"""

from collections.abc import Mapping
from typing import Any

from resources import codes, content


def task(
    focus: str, subject: Mapping[str, Any], organization: str, doubt: str, instant: int
) -> dict[str, Any]:
    """Make it.

    Parameters
    ----------
    focus
        What is doubted, as ``Type/id``.
    subject
        Reference to the Patient that it names.
    organization
        Id of the Organization whose people are asked: who sent it.
    instant
        Microseconds since 1970 UTC.
    """
    written = content.written_instant(instant)
    return {
        "resourceType": "Task",
        "status": "requested",
        "intent": "order",
        "priority": "urgent",
        "code": {"coding": [codes.RECONCILE.json]},
        "description": doubt,
        "focus": {"reference": focus},
        "for": subject,
        "authoredOn": written,
        "lastModified": written,
        "owner": {"reference": f"Organization/{organization}"},
    }
