"""Organization: the code by which everybody else knows one.

Accession numbers and local patient numbers are told apart by the ODS code of who gave them, so an
organisation that took another's code would be believed where the other is meant.

References
----------
* NHS Organisation Data Service (ODS codes)
"""

from collections.abc import Mapping
from typing import Any

from resources import codes
from resources.errors import Forbidden


def ods(organization: Mapping[str, Any]) -> str:
    """The ODS code of an organisation, or nothing.

    Examples
    --------
    >>> ods({"identifier": [{"system": codes.ODS_ORGANIZATION, "value": "ZZ901"}]})
    'ZZ901'
    """
    return next(
        (
            str(identifier.get("value", ""))
            for identifier in organization.get("identifier", ())
            if identifier.get("system") == codes.ODS_ORGANIZATION
        ),
        "",
    )


def rule(before: Mapping[str, Any] | None, after: Mapping[str, Any], context: Any) -> None:
    """Refuse another ODS code for an organisation that is there.

    Raises
    ------
    Forbidden
        Its code would change by anybody but the system.
    """
    if before is None or context.principal.role == "system":
        return
    for system in (codes.ODS_ORGANIZATION, codes.ODS_SITE):
        if _values(before, system) != _values(after, system):
            raise Forbidden("an ODS code is not changed", "Organization.identifier", "role")


def _values(organization: Mapping[str, Any], system: str) -> list[Any]:
    identifiers = organization.get("identifier", ())
    return [one.get("value") for one in identifiers if one.get("system") == system]
