"""Sources: which organisation of the directory is the institution that an object names.

References
----------
* docs/representation.md, "Who created it, and when"
* FHIR R4 Organization, search parameters `identifier` and `name` (name or alias)
"""

from collections.abc import Iterable, Mapping
from typing import Any

from dicom_bridge.mapping.attributes import escaped
from dicom_bridge.mapping.imaging_study import Arrived
from dicom_bridge.mapping.origin import Claim, Source, Sources, claim_of
from fhir_server.search import query
from fhir_server.store.unit_of_work import Work
from resources import codes


async def found(work: Work, arrived: Iterable[Arrived]) -> Sources:
    """Say who created what, by what was claimed.

    An institution that the directory does not know, or knows twice, is called as the object calls
    it, and its sender answers for it.
    """
    claims = dict.fromkeys(claim_of(row.organization, row.header) for row in arrived)
    return {claim: await _source(work, claim) for claim in claims}


async def _source(work: Work, claim: Claim) -> Source:
    if claim.code:
        systems = (codes.ODS_ORGANIZATION, codes.ODS_SITE)
        tokens = ",".join(f"{system}|{escaped(claim.code)}" for system in systems)
        if known := await _one(work, "identifier", tokens):
            return _source_of(known, "institution-code")
    if claim.name and (known := await _one(work, "name:exact", escaped(claim.name))):
        return _source_of(known, "institution-name")
    sender = (await work.read("Organization", claim.sender)).json
    return Source(claim.sender, claim.name or str(sender.get("name", "")), "sender")


async def _one(work: Work, parameter: str, value: str) -> Mapping[str, Any] | None:
    """The one organisation that a search finds."""
    asked = query.parse("Organization", [(parameter, value), ("_count", "2")], strict=True)
    known = await work.search(asked)
    return known[0].json if len(known) == 1 else None


def _source_of(organization: Mapping[str, Any], basis: str) -> Source:
    return Source(organization["id"], str(organization.get("name", "")), basis)
