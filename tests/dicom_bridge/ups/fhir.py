"""People of the lead organisation, who work on Tasks by FHIR."""

from fhir_server.access.principal import Principal
from fhir_server.access.scopes import parse
from fhir_server.context import RequestContext


def person(
    name: str, organization: str = "lead", role: str = "operator", interaction: str = "update"
) -> RequestContext:
    """A context of somebody with a role of their own."""
    who = Principal(f"PractitionerRole/{name}", organization, role, parse("user/*.cruds"))
    return RequestContext(who, interaction, "127.0.0.1")
