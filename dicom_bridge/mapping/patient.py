"""Patient as DICOM headers tell of one: identifiers, demographics, and whether two agree.

A wrong patient is worse than an unlinked study. So an identifier is only believed under its
issuer, a date of birth that contradicts is a contradiction, and nothing is ever merged here.

References
----------
* PS3.3 Section C.7.1.1 (Patient Module)
* docs/representation.md, "Identifiers" and "From objects to the ImagingStudy"
"""

from collections.abc import Mapping
from typing import Any, Final

from dicom_bridge.mapping import convert
from resources import codes, identifiers

NHS_ISSUERS: Final = frozenset({"NHS", "NHSNMBR", codes.NHS_NUMBER_OID})
"""How senders name the issuer of an NHS number."""


def nhs_number(header: Mapping[str, Any]) -> str:
    """The NHS number, if the header holds one that can be one; else empty.

    Believed under the NHS as issuer, or under no issuer when its check digit fits.
    """
    candidates = [header, *header.get("OtherPatientIDsSequence", ())]
    for item in candidates:
        value = str(item.get("PatientID", "")).replace(" ", "")
        issuers = _issuers(item)
        if (issuers & NHS_ISSUERS or not issuers) and identifiers.is_nhs_number(value):
            return value
    return ""


def local_number(header: Mapping[str, Any]) -> str:
    """The Patient ID when it is no NHS number: the sender's own."""
    value = str(header.get("PatientID", ""))
    return "" if value.replace(" ", "") == nhs_number(header) else value


def mrn_system(ods: str) -> str:
    """The identifier system of an organisation's own patient numbers."""
    return f"{codes.MRN}/{ods}"


def tokens(header: Mapping[str, Any], ods: str) -> list[str]:
    """What to search Patient by, surest first: ``system|value`` of the identifiers held."""
    found = []
    if nhs := nhs_number(header):
        found.append(f"{codes.NHS_NUMBER}|{nhs}")
    if local := local_number(header):
        found.append(f"{mrn_system(ods)}|{local}")
    return found


def agrees(patient: Mapping[str, Any], header: Mapping[str, Any], ods: str) -> bool:
    """Whether a header speaks of this Patient: an identifier the same, and no contradiction."""
    birth = convert.as_date(str(header.get("PatientBirthDate", "")))
    known_birth = str(patient.get("birthDate", ""))
    if birth and known_birth and not birth.startswith(known_birth):
        return False
    wanted = set(tokens(header, ods))
    held = {
        f"{identifier.get('system', '')}|{identifier.get('value', '')}"
        for identifier in patient.get("identifier", ())
    }
    return bool(wanted & held)


def contradicts(patient: Mapping[str, Any], header: Mapping[str, Any]) -> bool:
    """Whether a header speaks of somebody else: of another NHS number, or date of birth.

    Examples
    --------
    >>> contradicts({"birthDate": "1970-01-01"}, {"PatientBirthDate": "19700102"})
    True
    >>> contradicts({"birthDate": "1970-01-01"}, {"PatientName": "Adams^Ann"})
    False
    """
    birth = convert.as_date(str(header.get("PatientBirthDate", "")))
    known_birth = str(patient.get("birthDate", ""))
    if birth and known_birth and not birth.startswith(known_birth):
        return True
    known = {
        str(identifier.get("value", ""))
        for identifier in patient.get("identifier", ())
        if identifier.get("system") == codes.NHS_NUMBER
    }
    number = nhs_number(header)
    return bool(number and known) and number not in known


def is_certain(patient: Mapping[str, Any], header: Mapping[str, Any], ods: str) -> bool:
    """Whether a header that agrees with this Patient speaks of them for certain.

    A number that anybody may know is not enough without the date of birth; the sender's own
    number for the patient is.
    """
    birth = convert.as_date(str(header.get("PatientBirthDate", "")))
    known_birth = str(patient.get("birthDate", ""))
    if birth and known_birth and birth.startswith(known_birth):
        return True
    local = local_number(header)
    return bool(local) and any(
        identifier.get("system") == mrn_system(ods) and identifier.get("value") == local
        for identifier in patient.get("identifier", ())
    )


def made(
    header: Mapping[str, Any], ods: str, organization: str, *, contested: bool
) -> dict[str, Any]:
    """A Patient made of a header, for a person nobody told us of before.

    Parameters
    ----------
    ods
        ODS code (or id) of the organisation that sent the study.
    organization
        Its id.
    contested
        The NHS number belongs to a Patient who does not agree: keep it out of this one.
    """
    patient: dict[str, Any] = {"resourceType": "Patient"}
    if held := _identifiers(header, ods, organization, contested=contested):
        patient["identifier"] = held
    name = convert.as_human_name(str(header.get("PatientName", "")))
    if name:
        patient["name"] = [name]
    patient["gender"] = convert.as_gender(str(header.get("PatientSex", "")))
    if birth := convert.as_date(str(header.get("PatientBirthDate", ""))):
        patient["birthDate"] = birth
    patient["managingOrganization"] = {"reference": f"Organization/{organization}"}
    return patient


def _identifiers(
    header: Mapping[str, Any], ods: str, organization: str, *, contested: bool
) -> list[dict[str, Any]]:
    held: list[dict[str, Any]] = []
    nhs = nhs_number(header)
    if nhs and not contested:
        held.append({"system": codes.NHS_NUMBER, "value": nhs})
    local = local_number(header) or (nhs if contested else "")
    if local:
        held.append(
            {
                "type": {"coding": [codes.MRN_TYPE.json]},
                "system": mrn_system(ods),
                "value": local,
                "assigner": {"reference": f"Organization/{organization}"},
            }
        )
    return held


def _issuers(item: Mapping[str, Any]) -> set[str]:
    names = {str(item.get("IssuerOfPatientID", "")).strip().upper()}
    for qualifier in item.get("IssuerOfPatientIDQualifiersSequence", ()):
        names.add(str(qualifier.get("UniversalEntityID", "")))
    return names - {""}
