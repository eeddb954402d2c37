"""Granted: what an organisation may read because a Consent names it, resource by resource.

A row of `granted` lets one organisation read one resource about one patient, for a time; of an
ImagingStudy also its pixels, and what comes to it later. It is looked at when a request is made;
nothing is remembered. It relates nobody to the patient, and nothing is written because of it. When
the resource turns out to be about another patient it is granted to nobody any more.

What is not released (`withheld`) is seen where the server, or who created it, grants it: what
others grant does not come before its release.

FHIR R4 Consent.provision.data; docs/representation.md, "Grants".
"""


def seen(alias: str, organization: str, instant: str) -> str:
    """Write the condition that a row of `current` is granted to an organisation.

    The first part is asked once a statement: where nobody is granted anything, no row is looked at
    further.

    Parameters
    ----------
    alias
        Of the row.
    organization, instant
        SQL of the organisation that asks, and of the present instant.
    """
    return f"(exists (select from granted) and {_granted(alias, organization, instant)})"


def released(alias: str, organization: str, instant: str) -> str:
    """Write the condition that it is granted by who may do so before it is released."""
    by = f"g.creator in ('', {alias}.organizations[1])"
    return _granted(alias, organization, instant, f" and {by}")


def _granted(alias: str, organization: str, instant: str, more: str = "") -> str:
    return (
        f"exists (select from granted as g where g.organization = {organization}"
        f" and g.type = {alias}.type and g.id = {alias}.id and g.patient = {alias}.patient"
        f" and g.since <= {instant} and g.until > {instant}{more})"
    )
