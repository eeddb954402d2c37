"""Sharing: what an organisation sees because another agreed to share what it creates.

A row of `sharing` lets one organisation read what another created, for a time. It is looked at when
a request is made; nothing is remembered, so an agreement begins and ends by the clock alone. It
relates nobody to a patient: nothing is written because of it, and it is not passed on, since what
counts is who created a resource and never who sees it.

Many organisations may have made one ImagingStudy, each some of its series. It is seen by those with
whom all of them share: `maker` names them, of every version. A Patient that the server made from
what it received is of the organisation that keeps the record.

FHIR R4 OrganizationAffiliation; docs/representation.md, "Who created it, and when".
"""

from typing import Final

NOBODY_KNOWN: Final = ""
"""`Maker.organization` of a series whose maker is not known: nobody shares that."""


def seen(alias: str, organization: str, instant: str) -> str:
    """Write the condition that a row of `current` is shared with an organisation.

    The first part is asked once a statement: where nobody shares anything, no row is looked at
    further. What is withheld is for `withheld` to say.

    Parameters
    ----------
    alias
        Of the row.
    organization, instant
        SQL of the organisation that asks, and of the present instant.
    """
    creator = f"{alias}.organizations[1]"
    agreed = (
        f"from sharing as s where s.organization = {organization}"
        f" and s.since <= {instant} and s.until > {instant}"
    )
    sharing = f"array(select s.creator {agreed})"
    keeping = f"array(select 'P.organization=Organization/' || s.creator {agreed})"
    made = f"exists (select from maker as m where m.id = {alias}.id and"
    return (
        "(exists (select from sharing) and case"
        f" when {alias}.type = 'ImagingStudy' then {made} m.organization = any({sharing}))"
        f" and not {made} m.organization <> all({sharing}))"
        f" when {alias}.type = 'Patient' and {creator} = '' then {alias}.terms && {keeping}"
        f" else {creator} = any({sharing}) end)"
    )


def overseen(alias: str, organization: str) -> str:
    """Write the condition that a row of the ledger tells what came of sharing.

    Who shares, or did, is told what those it shares with did with what it created, for as long as
    the ledger is kept.

    Parameters
    ----------
    alias
        Of the row of `audit`.
    organization
        SQL of the organisation that asks.
    """
    partners = f"array(select s.organization from sharing as s where s.creator = {organization})"
    return (
        f"({alias}.organization = any({partners}) and exists (select from current as c"
        f" where c.type = {alias}.type and c.id = {alias}.id"
        f" and c.organizations[1] = {organization}))"
    )
