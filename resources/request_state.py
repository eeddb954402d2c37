"""RequestState: all that exists of one ServiceRequest, as a pathway looks at it.

References
----------
* FHIR R4 ServiceRequest; docs/representation.md, "Steps"
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from resources import acknowledgement, codes, elements

Json = Mapping[str, Any]


class Held(NamedTuple):
    """A resource at a version. `reference` names it, `versioned` pins it."""

    json: Json
    version: int

    @property
    def reference(self) -> str:
        """``Type/id``."""
        return f"{self.json['resourceType']}/{self.json['id']}"

    @property
    def versioned(self) -> str:
        """``Type/id/_history/version``."""
        return f"{self.reference}/_history/{self.version}"


@dataclass(frozen=True, slots=True)
class RequestState:
    """All that exists of one request.

    Parameters
    ----------
    request
        The ServiceRequest.
    others
        Tasks, Appointments, ImagingStudies and DiagnosticReports based on it.
    lead_ods
        ODS code of the lead provider, the issuer of accession numbers; empty if it has none.
    recipients
        Whom each report is for: ``DiagnosticReport/id`` -> references, the referrer first.
    policy
        By when reports are acknowledged.
    """

    request: Held
    others: tuple[Held, ...] = ()
    lead_ods: str = ""
    recipients: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    policy: acknowledgement.Policy = acknowledgement.DEFAULT

    def of_type(self, type_: str) -> tuple[Held, ...]:
        """What there is of a resource type, by id: never in the order of arrival."""
        if type_ == "ServiceRequest":
            return (self.request,)
        found = [held for held in self.others if held.json["resourceType"] == type_]
        return tuple(sorted(found, key=lambda held: held.json["id"]))

    def having(self, held: Held) -> "RequestState":
        """The state with one resource added or replaced."""
        if held.reference == self.request.reference:
            return replace(self, request=held)
        kept = tuple(other for other in self.others if other.reference != held.reference)
        return replace(self, others=(*kept, held))

    @property
    def lead(self) -> str | None:
        """``Organization/id`` of the lead provider: the first organisation asked to perform."""
        asked = elements.references(self.request.json.get("performer"))
        return next((one for one in asked if one.startswith("Organization/")), None)


def kind(request: Json) -> str:
    """The kind of a request (`request-kind`), which names its pathway; primary unless it says so.

    Examples
    --------
    >>> kind({"category": [codes.KIND_REVIEW_FORMAL.concept]}), kind({})
    ('review-formal', 'primary')
    """
    kinds = (elements.code_in(one, codes.REQUEST_KIND) for one in request.get("category", ()))
    return next((one for one in kinds if one), codes.KIND_PRIMARY.code)


def begins(request: Json) -> bool:
    """Whether a ServiceRequest is one that pathways are walked for.

    It belongs to an imaging service request (a requisition) and asks an organisation.
    """
    asked = elements.references(request.get("performer"))
    return bool(request.get("requisition")) and any(
        reference.startswith("Organization/") for reference in asked
    )
