"""Purposes of use: what somebody asks for, as the audit says it.

A role stands for one purpose, unless the token names another: IHE IUA lets a token carry
``purpose_of_use``, which its issuer has signed. No header of a request names one: whoever is asked
to account for what they read would choose it themselves.

References
----------
* HL7 v3 PurposeOfUse (value set over ActReason): the codes and what they mean
* IHE IUA, "JWT Token Extensions": ``extensions.ihe_iua.purpose_of_use``
* IHE BALP: ``agent[user].purposeOfUse``, "if the OAuth token includes a PurposeOfUse"
"""

from collections.abc import Mapping
from typing import Any, Final

from resources import codes
from resources.codes import Coding
from resources.errors import Invalid

PURPOSES: Final[Mapping[str, Coding]] = {
    coding.code: coding
    for coding in (
        Coding(codes.V3_ACT_REASON, "TREAT", "treatment"),
        Coding(codes.V3_ACT_REASON, "COC", "coordination of care"),
        codes.EMERGENCY_TREATMENT,
        codes.BREAK_THE_GLASS,
        Coding(codes.V3_ACT_REASON, "CLINTRL", "clinical trial"),
        Coding(codes.V3_ACT_REASON, "HRESCH", "healthcare research"),
        Coding(codes.V3_ACT_REASON, "HPAYMT", "healthcare payment"),
        Coding(codes.V3_ACT_REASON, "HOPERAT", "healthcare operations"),
        Coding(codes.V3_ACT_REASON, "HCOMPL", "health compliance"),
        Coding(codes.V3_ACT_REASON, "HLEGAL", "legal"),
        Coding(codes.V3_ACT_REASON, "HQUALIMP", "health quality improvement"),
        Coding(codes.V3_ACT_REASON, "HSYSADMIN", "health system administration"),
        Coding(codes.V3_ACT_REASON, "PATADMIN", "patient administration"),
        Coding(codes.V3_ACT_REASON, "PATRQT", "patient requested"),
        Coding(codes.V3_ACT_REASON, "PATSFTY", "patient safety"),
        Coding(codes.V3_ACT_REASON, "PUBHLTH", "public health"),
        Coding(codes.V3_ACT_REASON, "TRAIN", "training"),
    )
}
"""The purposes that a token may name, but for the emergency, which is opened and not named."""

BY_ROLE: Final[Mapping[str, str]] = {
    "referrer":       "TREAT",
    "practitioner":   "TREAT",
    "operator":       "TREAT",
    "reporter":       "TREAT",
    "reviewer":       "TREAT",
    "delegate":       "TREAT",
    "coordinator":    "COC",
    "auditor":        "HCOMPL",
    "safety-officer": "PATSFTY",
    "administrator":  "PATADMIN",
    "application":    "TREAT",
    "device":         "TREAT",
    "sender":         "TREAT",
    "system":         "HSYSADMIN",
}  # fmt: skip
"""Role -> the purpose of who acts in it; a sender is who brought images that were settled later."""

IN_EMERGENCY: Final = codes.BREAK_THE_GLASS.code

NAMEABLE: Final = frozenset(PURPOSES) - {codes.BREAK_THE_GLASS.code, codes.EMERGENCY_TREATMENT.code}


def check(code: str) -> str:
    """Refuse a purpose that no token names.

    Raises
    ------
    Invalid
        It is not in the table, or it is the emergency.
    """
    if code not in NAMEABLE:
        raise Invalid(f"A purpose of use is one of {', '.join(sorted(NAMEABLE))}.")
    return code


def claim(code: str) -> dict[str, Any]:
    """Write a purpose as IUA has a token carry it."""
    use = [{"system": codes.V3_ACT_REASON, "code": code}]
    return {"ihe_iua": {"purpose_of_use": use}}


def read(extensions: Any) -> str:
    """Read the one purpose of a token's ``extensions``; empty if they name none.

    Examples
    --------
    >>> read(claim("HRESCH")), read(None)
    ('HRESCH', '')

    Raises
    ------
    Invalid
        It is not one that `claim` writes.
    """
    if extensions is None:
        return ""
    try:
        (use,) = extensions["ihe_iua"]["purpose_of_use"]
        if extensions != claim(use["code"]):
            raise Invalid("no purpose of use is like that")
        return check(use["code"])
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid("no purpose of use is like that") from error
