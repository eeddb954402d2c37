"""Withheld: what a patient's dissent, or a label, keeps from other organisations.

A row of `withheld` keeps something of one patient from an organisation for a time: from one that
is named or from all, one resource or all there is. An organisation always sees what it created
itself, and what the server made for it.

A row for `UNRELEASED` keeps something from all until it is released: but for who created it, who
made a series of it, and whom it is granted. Rows are written with the Consent or the label that
says so, and looked at when a request is made; nothing is remembered.

FHIR R4 Consent; FHIR Security Labels, "Core Security Labels" (confidentiality).
"""

from typing import Final

from fhir_server.access import granted

UNRELEASED: Final = "*"
"""`Withheld.organization` of what is not released."""


def seen(alias: str, organization: str, instant: str) -> str:
    """Write the condition that a row of `current` is not withheld from an organisation.

    The first part is asked once a statement: where nothing at all is withheld, no row is looked
    at further.

    Parameters
    ----------
    alias
        Of the row.
    organization, instant
        SQL of the organisation that asks, and of the present instant.
    """
    creator = f"{alias}.organizations[1]"
    whose = f"w.patient = coalesce({alias}.patient, '')"
    return (
        f"(not exists (select from withheld) or {organization} = {creator}"
        f" or ({creator} = '' and {organization} = any({alias}.organizations)"
        f" or not exists (select from withheld as w where {whose}"
        f" and w.organization in ('', {organization}) and w.type in ('', {alias}.type)"
        f" and w.id in ('', {alias}.id) and w.since <= {instant} and w.until > {instant}))"
        f" and (not exists (select from withheld as w where {whose}"
        f" and w.organization = '{UNRELEASED}' and w.type = {alias}.type and w.id = {alias}.id)"
        f" or {alias}.type = 'ImagingStudy' and exists (select from maker as m"
        f" where m.id = {alias}.id and m.organization = {organization})"
        f" or {granted.released(alias, organization, instant)}))"
    )
