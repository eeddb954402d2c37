"""OperationDefinitions: what each operation of the table takes and gives, to be read by clients.

An operation that the standard or an implementation guide defines is named by their URL in the
CapabilityStatement; here it is described as this server does it, and `base` names what it
follows.

References
----------
* FHIR R4 OperationDefinition
"""

import re
from typing import Any, Final

from fhir_server.rest.operations.row import Operation, Taken
from fhir_server.rest.operations.table import OPERATIONS
from resources import codes

PLACE: Final = f"{codes.BASE}/OperationDefinition"


def definitions() -> list[dict[str, Any]]:
    """Describe every operation of the table."""
    return [definition(row) for row in OPERATIONS]


def definition(row: Operation) -> dict[str, Any]:
    """Describe one operation.

    Examples
    --------
    >>> found = definition(OPERATIONS[0])
    >>> found["id"], found["name"], found["base"]
    ('Resource-validate', 'ResourceValidate', 'http://hl7.org/fhir/OperationDefinition/Resource-validate')
    """
    id = row.definition.rpartition("/")[2]
    url = f"{PLACE}/{id}"
    types = ["Resource"] if row.types is None else sorted(row.types)
    listed = [_parameter(each, "in") for each in row.takes]
    listed += [_parameter(each, "out") for each in row.gives]
    return {
        "resourceType": "OperationDefinition",
        "id": id,
        "url": url,
        "name": "".join(each[:1].upper() + each[1:] for each in re.split(r"\W", id)),
        "title": row.title,
        "status": "active",
        "kind": "operation",
        "affectsState": row.affects_state,
        "code": row.name,
        **({"base": row.definition} if row.definition != url else {}),
        **({"resource": types} if types else {}),
        **{level: level in row.levels for level in ("system", "type", "instance")},
        **({"parameter": listed} if listed else {}),
    }


def _parameter(taken: Taken, use: str) -> dict[str, Any]:
    parts = [_parameter(each, use) for each in taken.parts]
    return {
        "name": taken.name,
        "use": use,
        "min": taken.min,
        "max": taken.max,
        **({"part": parts} if parts else {"type": taken.type}),
    }
