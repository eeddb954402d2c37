"""Performers: in whose name a workstation claims a step.

The workstation may have negotiated who its user is; then that is who. Else it names its Actual
Human Performers, by an identifier of theirs or by the code under which we list them, and vouches
for them as it does for all that it sends: one must be known here, in a role at its organisation.

References
----------
* PS3.4-2009 Section F.10.2.1 (Actual Human Performers Sequence); PS3.3 Table 10-29
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from pydicom.dataset import Dataset

from dicom_bridge.general_purpose.statuses import UNKNOWN_PERFORMER, refused
from dicom_bridge.mapping import general_purpose, ups
from fhir_server.access.principal import Principal
from fhir_server.access.roles import ROLES
from fhir_server.access.scopes import parse
from fhir_server.context import RequestContext
from fhir_server.search import query
from fhir_server.store.unit_of_work import Work
from resources import codes
from resources import task as rules
from resources.errors import NotFound

SCOPES: Final = parse("user/*.cruds")
"""As somebody who signs in at the workstation: what their role may do."""
PEOPLE: Final = frozenset(ROLES) - {"application", "device", "system"}
SPECIAL: Final = frozenset("\\,|$")
MOST_CODES: Final = 8
IS_A_ROLE: Final = "PractitionerRole/"


async def claiming(
    work: Work, context: RequestContext, information: Dataset, task: Mapping[str, Any]
) -> RequestContext:
    """Give the context of who claims a step; a station itself may do what a device does.

    Raises
    ------
    Refused
        It is a person's, and nobody who is named is known here.
    """
    if context.principal.role != "device":
        return context
    named = list(general_purpose.performer_codes(information))
    with work.as_server():
        for scheme, value in named[:MOST_CODES]:
            for role in await _roles(work, context, scheme, value):
                if principal := _principal(role, context):
                    return _as(context, principal)
    step = rules.step_of(task) or ""
    if named and "device" not in rules.PERFORMERS.get(step, {"device"}):
        raise refused(UNKNOWN_PERFORMER, "ActualHumanPerformersSequence")
    return context


async def holding(work: Work, context: RequestContext, task: Mapping[str, Any]) -> RequestContext:
    """Give the context of who holds a step that this workstation has claimed for them."""
    owner = ups.local(task.get("owner", {}))
    if context.principal.role != "device" or not owner.startswith(IS_A_ROLE):
        return context
    with work.as_server():
        try:
            role = (await work.read("PractitionerRole", owner.removeprefix(IS_A_ROLE))).json
        except NotFound:
            return context
    principal = _principal(role, context)
    return _as(context, principal) if principal else context


async def _roles(
    work: Work, context: RequestContext, scheme: str, value: str
) -> list[Mapping[str, Any]]:
    if scheme == ups.OURS:
        try:
            return [(await work.read("PractitionerRole", value)).json]
        except NotFound:
            return []
    if SPECIAL.intersection(value):
        return []
    at = ("organization", f"Organization/{context.principal.organization}")
    found: list[Mapping[str, Any]] = []
    for parameter in ("identifier", "practitioner.identifier"):
        asked = query.parse("PractitionerRole", [(parameter, value), at], strict=True)
        found += [one.json for one in await work.search(asked)]
    return found


def _principal(role: Mapping[str, Any], context: RequestContext) -> Principal | None:
    """Give who somebody is to the gate, if that is a role at the workstation's organisation."""
    organization = context.principal.organization
    if ups.local(role.get("organization", {})) != f"Organization/{organization}":
        return None
    if role.get("active") is False:
        return None
    for concept in role.get("code", ()):
        for coding in concept.get("coding", ()):
            code = str(coding.get("code", ""))
            if coding.get("system") == codes.ROLE and code in PEOPLE:
                return Principal(f"PractitionerRole/{role['id']}", organization, code, SCOPES)
    return None


def _as(context: RequestContext, principal: Principal) -> RequestContext:
    return dataclasses.replace(context, principal=principal)
