"""The services that CDS Hooks finds here, and what each is told when it is called.

CDS Hooks 2.0, "Discovery"; hooks ``order-select`` and ``order-sign`` of its library.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

Json = Mapping[str, Any]


class Service(NamedTuple):
    """One service, as discovery tells of it."""

    id: str
    hook: str
    title: str
    description: str


SERVICES: Final = (
    Service(
        "imaging-repeats-select",
        "order-select",
        "Imaging that would be repeated",
        "Tells, for the orders that are selected, of the same or similar imaging that the patient "
        "had of late at any organisation the asker may see, and of open requests for it.",
    ),
    Service(
        "imaging-repeats-sign",
        "order-sign",
        "Imaging that would be repeated",
        "Tells it of all orders that are about to be signed, and takes the reason of who signs all "
        "the same.",
    ),
)

REASONS: Final[Mapping[str, str]] = {
    "changed": "The patient's condition has changed",
    "planned": "It is the planned follow-up",
    "unsatisfactory": "The earlier images do not answer the question",
    "unavailable": "The earlier images cannot be had in time",
}
"""Why imaging is asked for again: code of CodeSystem request-override -> words."""


def discovery() -> Json:
    """Say which services there are."""
    return {"services": [each._asdict() for each in SERVICES]}
