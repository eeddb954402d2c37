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
        ODS code of who performs it, the issuer of accession numbers; empty if it has none.
    recipients
        Whom each report is for: ``DiagnosticReport/id`` -> references, the referrer first.
    policy
        By when reports are acknowledged.
    around
        The requests that it hangs together with, and what is based on them: as ``parent`` the
        request that it serves, as ``onward`` those that serve it.
    named
        References that were looked up for it, by what they are: ``clinical``, ``priors``.
    """

    request: Held
    others: tuple[Held, ...] = ()
    lead_ods: str = ""
    recipients: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    policy: acknowledgement.Policy = acknowledgement.DEFAULT
    around: Mapping[str, tuple[Held, ...]] = field(default_factory=dict)
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of_type(self, type_: str, of: str = "") -> tuple[Held, ...]:
        """What there is of a resource type, by id: never in the order of arrival.

        Parameters
        ----------
        of
            ``parent`` or ``onward``: of the requests around it.
        """
        if not of and type_ == "ServiceRequest":
            return (self.request,)
        known = self.around.get(of, ()) if of else self.others
        found = [held for held in known if held.json["resourceType"] == type_]
        return tuple(sorted(found, key=lambda held: held.json["id"]))

    def having(self, held: Held) -> "RequestState":
        """The state with one resource of the request added or replaced."""
        if held.reference == self.request.reference:
            return replace(self, request=held)
        return replace(self, others=_with(self.others, held))

    def knowing(self, held: Held) -> "RequestState":
        """The state when a resource changed, wherever it belongs: here, around it, or nowhere."""
        around = {
            of: _with(known, held) if _belongs(held, known) else known
            for of, known in self.around.items()
        }
        state = replace(self, around=around)
        if _belongs(held, (self.request, *self.others)):
            return state.having(held)
        return state

    @property
    def performer(self) -> str | None:
        """``Organization/id`` of the first organisation asked to perform."""
        return _performer(self.request.json)

    @property
    def lead(self) -> str | None:
        """``Organization/id`` of the lead provider: who was asked by the referrer."""
        parent = self.of_type("ServiceRequest", "parent")
        return _performer(parent[0].json) if parent else self.performer


def _performer(request: Json) -> str | None:
    asked = elements.references(request.get("performer"))
    return next((one for one in asked if one.startswith("Organization/")), None)


def _with(known: tuple[Held, ...], held: Held) -> tuple[Held, ...]:
    return (*(one for one in known if one.reference != held.reference), held)


def _belongs(held: Held, known: tuple[Held, ...]) -> bool:
    """Whether something is known already, or based on a request that is."""
    names = {one.reference for one in known}
    based_on = map(elements.unversioned, elements.references(held.json.get("basedOn")))
    is_request = held.json["resourceType"] == "ServiceRequest"
    requests = {name for name in names if name.startswith("ServiceRequest/")}
    return held.reference in names or (not is_request and any(one in requests for one in based_on))


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
