"""Agreements to share: the rows by which an organisation lets another read what it creates.

They are written in the transaction of the OrganizationAffiliation that says so, by the organisation
that shares and by nobody else, whatever the rules of the installation. They end with it and are
kept, so that what was made for somebody while they counted can be told from the rest.

Beside them stands who made the series of an ImagingStudy in any of its versions: somebody with whom
one of them shares does not see what the others made.

References
----------
* `fhir_server.access.sharing`; `resources.agreement`
"""

from collections.abc import Iterator
from typing import Any, Final

from fhir_server.access.relationship import FOREVER
from fhir_server.access.sharing import NOBODY_KNOWN
from fhir_server.postgres.database import Statement, Texts
from fhir_server.search import date
from fhir_server.store.draft import Draft
from resources import agreement, elements, references

END: Final = f"""
update sharing set since = {FOREVER}, until = least(until, $2)
where by_id = $1 and since < {FOREVER}
"""
"""What is ended by somebody is ended for every clock, however slow."""
SHARE: Final = """
insert into sharing(by_id, creator, organization, since, until) values ($1, $2, $3, $4, $5)
on conflict (organization, creator, by_id) do update set since = $4, until = $5
"""
MADE: Final = """
insert into maker(id, organization) select $1, o from unnest($2::text[]) as o
on conflict do nothing
"""


def statements(draft: Draft, base_url: str) -> list[Statement]:
    """Give what is to be run with this draft; nothing for most types."""
    type, id = draft.key
    if type == "ImagingStudy" and not draft.write.stored.deleted:
        found = makers(draft.write.after, draft.creator, base_url)
        return [(MADE, (id, Texts(sorted(found))))] if found else []
    if type == "OrganizationAffiliation":
        return list(_said(draft, base_url))
    return []


def makers(study: dict[str, Any], creator: str, base_url: str) -> set[str]:
    """Name the organisations that made the series of an ImagingStudy.

    Parameters
    ----------
    creator
        Who created the resource: a series that names no performer is theirs.

    Examples
    --------
    >>> ct = {"performer": [{"actor": {"reference": "Organization/a"}},
    ...                     {"actor": {"reference": "Practitioner/x"}}]}
    >>> us = {"performer": [{"actor": {"display": "somebody"}}]}
    >>> sorted(makers({"series": [ct, {}]}, "b", "")), makers({"series": [us]}, "b", "")
    (['a', 'b'], {''})
    """
    found = set[str]()
    for series in study.get("series", ()):
        performers = series.get("performer", ())
        named = {
            reference.id
            for performer in performers
            for literal in elements.references(performer.get("actor"))
            if (reference := references.parse(literal, base_url)) is not None
            and not reference.base
            and reference.type == "Organization"
        }
        found |= named or {NOBODY_KNOWN if performers else creator}
    return found


def _said(draft: Draft, base_url: str) -> Iterator[Statement]:
    """What an affiliation says, instead of what it said before."""
    write, writer = draft.write, draft.context.principal
    if write.before is not None:
        yield END, (write.stored.id, write.stored.instant)
    said = None if write.stored.deleted else agreement.share(write.after, base_url)
    if said is None or draft.creator not in ("", said.creator):
        return
    if writer.role != "system" and writer.organization != said.creator:
        return
    since = date.period(said.start)[0] if said.start else 0
    until = date.period(said.end)[1] if said.end else FOREVER
    yield SHARE, (write.stored.id, said.creator, said.organization, since, until)
