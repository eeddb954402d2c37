"""Performers: as whom somebody takes a UPS.

A person is the owner of the Task, as when they take it by FHIR. A station or a program is a Device
of its organisation, so that the record says which of them it is, and no other is taken for it.

References
----------
* FHIR R4 Task.owner, Device; PS3.4 Section CC.2.1
"""

import uuid
from typing import Any, Final
from urllib.parse import quote

from fhir_server.access.principal import Principal
from fhir_server.search import query
from fhir_server.store.unit_of_work import Work
from resources import codes, content
from resources.errors import Forbidden, Gone, NotFound

PEOPLE: Final = ("PractitionerRole/", "Practitioner/")


async def performer(work: Work, principal: Principal) -> str:
    """Name who takes a UPS, as ``Type/id``; the Device of who is no person is made if need be.

    Raises
    ------
    Forbidden
        Who asks acts for no organisation.
    """
    if principal.subject.startswith(PEOPLE):
        return principal.subject
    if principal.organization is None:
        raise Forbidden("who performs a step acts for an organisation", step="relationship")
    token = identifier(principal)
    with work.as_server():
        asked = [
            ("identifier", f"{token['system']}|{token['value']}"),
            ("organization", f"Organization/{principal.organization}"),
        ]
        found = await work.search(query.parse("Device", asked, strict=True))
        if found:
            return found[0].reference
        id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{principal.organization} {principal.subject}"))
        try:
            return (await work.read("Device", id)).reference
        except (Gone, NotFound):
            made: dict[str, Any] = {
                "resourceType": "Device",
                "identifier": [token],
                "status": "active",
                "deviceName": [{"name": token["value"], "type": "other"}],
                "owner": {"reference": f"Organization/{principal.organization}"},
            }
            return (await work.update("Device", id, content.made(made))).reference


def identifier(principal: Principal) -> dict[str, str]:
    """Give the identifier of a station (its AE title) or of a program (its client)."""
    kind, _, name = principal.subject.partition("/")
    return {"system": codes.AE_TITLE if kind == "Peer" else codes.CLIENT, "value": name}


def source(principal: Principal) -> str:
    """Name the system that says something, as `meta.source` does."""
    token = identifier(principal)
    return f"{token['system']}/{quote(token['value'])}"
