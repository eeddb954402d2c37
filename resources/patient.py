"""Patient: what the house asks of one.

References
----------
* NHS Data Dictionary, NHS NUMBER: ten digits, the last a check digit modulo 11
"""

from collections.abc import Mapping
from typing import Any

from resources import codes, identifiers
from resources.errors import Unprocessable


def rule(
    before: Mapping[str, Any] | None, after: Mapping[str, Any], context: object = None
) -> None:
    """Refuse an NHS number that cannot be one: a wrong digit is another person.

    Raises
    ------
    Unprocessable
        The check digit does not fit.
    """
    for index, identifier in enumerate(after.get("identifier", ())):
        if identifier.get("system") != codes.NHS_NUMBER:
            continue
        if "value" in identifier and not identifiers.is_nhs_number(identifier["value"]):
            raise Unprocessable(
                "not an NHS number: the check digit is wrong",
                at=f"Patient.identifier[{index}].value",
            )
