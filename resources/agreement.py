"""Agreement: which organisation works for a lead provider, at which part, and on what terms.

An OrganizationAffiliation says it: `organization` is the lead, `participatingOrganization` the one
that works for it, `code` the part it takes, and extensions the terms that the requirements name.
No code branches on an organisation; a pathway asks the agreement who plays a part.

References
----------
* FHIR R4 OrganizationAffiliation; requirements, workflows 2 to 4
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from resources import codes, elements
from resources.errors import Forbidden

AFFILIATION_CODE: Final = f"{codes.BASE}/CodeSystem/affiliation"
PARTS: Final[Mapping[str, str]] = {
    "acquires-for": "acquiring",
    "reports-for": "reporting",
    "reviews-for": "reviewing",
}
"""Affiliation code -> the part played in a pathway."""

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


def rule(before: Mapping[str, Any] | None, after: Mapping[str, Any], context: Asker) -> None:
    """Let nobody grant themselves the work, or the terms, of another organisation.

    Raises
    ------
    Forbidden
        The lead that the affiliation names, or named before, is not who writes it.
    """
    if context.principal.role == "system":
        return
    own = f"Organization/{context.principal.organization}"
    for said in (before or {}, after):
        leads = [elements.unversioned(one) for one in elements.references(said.get("organization"))]
        if any(not (lead == own or lead.endswith(f"/{own}")) for lead in leads):
            raise Forbidden(
                "an agreement is written by the organisation that hands out the work",
                step="relationship",
            )


def read(lead: str, affiliations: Iterable[Mapping[str, Any]] = ()) -> Agreement:
    """The agreements of a lead organisation, from the affiliations that name it.

    Parameters
    ----------
    lead
        ``Organization/id``.
    affiliations
        OrganizationAffiliation resources; those inactive or of others are passed over.

    Examples
    --------
    >>> read("Organization/a").permits("reporting", "Organization/b", "direct_release")
    False
    """
    partners: dict[str, tuple[Partner, ...]] = {}
    for affiliation in affiliations:
        if affiliation.get("active") is False:
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
