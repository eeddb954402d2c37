"""Agreement: which organisation works for a lead provider, at which part, and on what terms.

An OrganizationAffiliation says it: `organization` is the lead, `participatingOrganization` the one
that works for it, `code` the part it takes, and extensions the terms that the requirements name.
No code branches on an organisation; a pathway asks the agreement who plays a part.

With the code `shares-with` it says that `organization` lets `participatingOrganization` read what
it creates. An agreement counts while it is active, in its `period`.

References
----------
* FHIR R4 OrganizationAffiliation; requirements, workflows 2 to 4
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from resources import codes, elements, references
from resources.errors import Forbidden, Unprocessable
from resources.predicates import covers

AFFILIATION_CODE: Final = f"{codes.BASE}/CodeSystem/affiliation"
PARTS: Final[Mapping[str, str]] = {
    "acquires-for": "acquiring",
    "reports-for": "reporting",
    "reviews-for": "reviewing",
}
"""Affiliation code -> the part played in a pathway."""

SHARES: Final = "shares-with"
"""Affiliation code: what `organization` creates may be read by `participatingOrganization`."""

LIMITING: Final = ("network", "location", "healthcareService", "specialty", "modifierExtension")
"""FHIR R4 OrganizationAffiliation: the elements that make it hold for a part, or say otherwise."""

TERMS: Final[Mapping[str, str]] = {
    f"{codes.OURS}/delegated-justification": "delegated_justification",
    f"{codes.OURS}/release-before-report": "release_before_report",
    f"{codes.OURS}/direct-release-to-reviewer": "direct_release",
    f"{codes.OURS}/automatic-acceptance": "automatic_acceptance",
}
"""Extension -> the term it grants; each is a boolean, and absent means no."""


class Asker(Protocol):
    """As much of a RequestContext as the rule looks at."""

    @property
    def principal(self) -> Any:
        """Who asks."""


@dataclass(frozen=True, slots=True)
class Partner:
    """One organisation that works for a lead, and the terms on which it does."""

    organization: str
    terms: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a lead has agreed: part -> partners, in the order in which they were found."""

    lead: str
    partners: Mapping[str, tuple[Partner, ...]] = field(default_factory=dict)

    def permits(self, part: str, organization: str, term: str) -> bool:
        """Whether an organisation that plays a part has been granted a term."""
        return any(
            partner.organization == organization and term in partner.terms
            for partner in self.partners.get(part, ())
        )


class Share(NamedTuple):
    """One organisation lets another read what it creates.

    Parameters
    ----------
    creator, organization
        Ids of the organisation that shares, and of the one that it shares with.
    start, end
        FHIR dateTimes; empty where there is none.
    """

    creator: str
    organization: str
    start: str
    end: str


def rule(before: Mapping[str, Any] | None, after: Mapping[str, Any], context: Asker) -> None:
    """Let nobody grant themselves the work, or the terms, of another organisation.

    Raises
    ------
    Forbidden
        The lead that the affiliation names, or named before, is not who writes it.
    Unprocessable
        It is to share what it would not be kept as it is said.
    """
    if _says(after, SHARES):
        _require_plain(after)
    if context.principal.role == "system":
        return
    own = f"Organization/{context.principal.organization}"
    for said in (before or {}, after):
        leads = [elements.unversioned(one) for one in elements.references(said.get("organization"))]
        if any(not (lead == own or lead.endswith(f"/{own}")) for lead in leads):
            raise Forbidden(
                "an agreement is written by the organisation that hands out the work, or shares",
                step="relationship",
            )


def share(json: Mapping[str, Any], base_url: str = "") -> Share | None:
    """Read what an affiliation shares; None if it shares nothing.

    Examples
    --------
    >>> share({"organization": {"reference": "Organization/a"}})
    """
    if not _says(json, SHARES) or json.get("active") is False or any(map(json.get, LIMITING)):
        return None
    creator = _own(json.get("organization"), base_url)
    organization = _own(json.get("participatingOrganization"), base_url)
    if not creator or not organization or creator == organization:
        return None
    period = json.get("period", {})
    return Share(creator, organization, period.get("start", ""), period.get("end", ""))


def read(lead: str, affiliations: Iterable[Mapping[str, Any]], at: str) -> Agreement:
    """The agreements of a lead organisation, from the affiliations that name it.

    Parameters
    ----------
    lead
        ``Organization/id``.
    affiliations
        OrganizationAffiliation resources; those inactive or of others are passed over.
    at
        The instant at which they are to be in force, as FHIR writes it.

    Examples
    --------
    >>> agreed = read("Organization/a", (), "2026-11-24T12:00:00Z")
    >>> agreed.permits("reporting", "Organization/b", "direct_release")
    False
    """
    partners: dict[str, tuple[Partner, ...]] = {}
    for affiliation in affiliations:
        if affiliation.get("active") is False or not covers(affiliation.get("period", {}), at):
            continue
        if elements.references(affiliation.get("organization")) != [lead]:
            continue
        terms = frozenset(
            term
            for url, term in TERMS.items()
            if elements.extension_value(affiliation, url) is True
        )
        for organization in elements.references(affiliation.get("participatingOrganization")):
            for concept in affiliation.get("code", ()):
                part = PARTS.get(elements.code_in(concept, AFFILIATION_CODE) or "")
                if part:
                    partner = Partner(organization, terms)
                    partners[part] = (*partners.get(part, ()), partner)
    return Agreement(lead, partners)


def _require_plain(json: Mapping[str, Any]) -> None:
    for name in LIMITING:
        if json.get(name):
            raise Unprocessable(
                "What an organisation creates is shared as a whole, not for a part of it.",
                f"OrganizationAffiliation.{name}",
            )
    for name in ("organization", "participatingOrganization"):
        if not elements.references(json.get(name)):
            raise Unprocessable(
                "Sharing names who shares, and with whom.", f"OrganizationAffiliation.{name}"
            )
    creator, other = (
        elements.unversioned(elements.references(json[name])[0])
        for name in ("organization", "participatingOrganization")
    )
    if other.startswith("#") or other.rpartition("/")[2] == creator.rpartition("/")[2]:
        raise Unprocessable(
            "Nothing is shared with oneself, or with who is not in the directory.",
            "OrganizationAffiliation.participatingOrganization",
        )


def _says(json: Mapping[str, Any], code: str) -> bool:
    return any(
        coding.get("system") == AFFILIATION_CODE and coding.get("code") == code
        for concept in json.get("code", ())
        for coding in concept.get("coding", ())
    )


def _own(value: object, base_url: str) -> str:
    """Give the id of the Organization of this server that an element names; empty if none."""
    for literal in elements.references(value):
        reference = references.parse(literal, base_url)
        if reference is not None and not reference.base and reference.type == "Organization":
            return reference.id
    return ""
