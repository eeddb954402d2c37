"""Identifier systems: NHS number, ODS code, accession number, study UID.

References
----------
* NHS Data Dictionary, NHS NUMBER (check digit, modulus 11)
* FHIR ImagingStudy, notes: the Study Instance UID is ``urn:dicom:uid`` with an ``urn:oid:`` value;
  IHE MADO types it DCM 110180
* PS3.5 Section 9.1 (UID encoding rules: components without leading zeros, at most 64 characters)
* HL7 v2 table 0203 ACSN; IHE MADO types an accession number in both HL7 v2 and DICOM
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from resources import codes

UID_PREFIX: Final = "urn:oid:"
LONGEST_UID: Final = 64

_NHS_NUMBER: Final = re.compile(r"[0-9]{10}")
_ODS_CODE: Final = re.compile(r"[A-Z0-9]{3,12}")
_UID: Final = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")

Identifier = dict[str, Any]


def is_nhs_number(text: str) -> bool:
    """Tell whether ten digits end in their check digit.

    Each of the first nine digits is multiplied by 10 down to 2; eleven minus the sum modulo 11
    is the check digit, 11 counting as 0. A number for which it would be 10 is never issued.

    Examples
    --------
    >>> is_nhs_number("9434765919"), is_nhs_number("9434765918"), is_nhs_number("943 476 5919")
    (True, False, False)
    """
    if not _NHS_NUMBER.fullmatch(text):
        return False
    weighed = sum(
        int(digit) * weight for digit, weight in zip(text, range(10, 1, -1), strict=False)
    )
    return (11 - weighed % 11) % 11 == int(text[9])


def is_ods_code(text: str) -> bool:
    """Tell whether this looks like a code of the Organisation Data Service: capitals and digits."""
    return _ODS_CODE.fullmatch(text) is not None


def is_uid(text: str) -> bool:
    """Tell whether this is a DICOM UID.

    Examples
    --------
    >>> is_uid("1.2.840.10008"), is_uid("1.02"), is_uid("1." + "2" * 63)
    (True, False, False)
    """
    return len(text) <= LONGEST_UID and _UID.fullmatch(text) is not None


def nhs_number(value: str) -> Identifier:
    """Make the identifier of a patient of the NHS."""
    return {"system": codes.NHS_NUMBER, "value": value}


def ods(code: str) -> Identifier:
    """Make the identifier of an organisation."""
    return {"system": codes.ODS_ORGANIZATION, "value": code}


def mrn(value: str, issuer: str) -> Identifier:
    """Make the identifier of a patient at one organisation; `issuer` is its ODS code."""
    return _issued(value, issuer, codes.MRN, codes.MRN_TYPE)


def accession(value: str, issuer: str) -> Identifier:
    """Make an accession number; numbers clash between trusts, so `issuer` (ODS) is a must.

    Examples
    --------
    >>> accession("A1", "RXX")["system"]
    'https://isocentre.example/fhir/Id/accession/RXX'
    """
    kinds = (codes.ACCESSION_NUMBER_TYPE, codes.ACCESSION_NUMBER)
    return _issued(value, issuer, codes.ACCESSION, *kinds)


def requested_procedure(value: str, issuer: str) -> Identifier:
    """Make the identifier of a requested procedure at its organisation (ODS)."""
    return _issued(value, issuer, codes.REQUESTED_PROCEDURE, codes.FILLER_TYPE)


def isr(value: str) -> Identifier:
    """Make the identifier of an imaging service request, which groups requested procedures."""
    return {"system": codes.ISR, "value": value}


def study_uid(uid: str) -> Identifier:
    """Make the identifier that carries a Study Instance UID.

    Examples
    --------
    >>> study_uid("1.2.3")["value"]
    'urn:oid:1.2.3'
    """
    return {
        "type": codes.STUDY_INSTANCE_UID_TYPE.concept,
        "system": codes.DICOM_UID,
        "value": UID_PREFIX + uid,
    }


def find(resource: Mapping[str, Any], system: str) -> Iterator[Identifier]:
    """Yield the identifiers of a resource that are of this system."""
    listed = resource.get("identifier", ())
    for identifier in [listed] if isinstance(listed, dict) else listed:
        if identifier.get("system") == system:
            yield identifier


def find_nhs_number(patient: Mapping[str, Any]) -> str | None:
    """Tell the NHS number of a Patient."""
    return _value(find(patient, codes.NHS_NUMBER))


def find_ods(organization: Mapping[str, Any]) -> str | None:
    """Tell the ODS code of an Organization, in either spelling of the system."""
    for system in (codes.ODS_ORGANIZATION, codes.ODS_ORGANISATION_AS_ALSO_SPELT, codes.ODS_SITE):
        if code := _value(find(organization, system)):
            return code
    return None


def find_study_uid(study: Mapping[str, Any]) -> str | None:
    """Tell the Study Instance UID of an ImagingStudy."""
    value = _value(find(study, codes.DICOM_UID))
    return value.removeprefix(UID_PREFIX) if value else None


def find_accessions(resource: Mapping[str, Any]) -> Iterator[Identifier]:
    """Yield the accession numbers of a request or a study, whoever issued them."""
    for identifier in resource.get("identifier", ()):
        if is_accession(identifier):
            yield identifier


def is_accession(identifier: Mapping[str, Any]) -> bool:
    """Tell whether an identifier is an accession number, by its type or by our system."""
    return (
        codes.has(identifier.get("type"), codes.ACCESSION_NUMBER_TYPE)
        or codes.has(identifier.get("type"), codes.ACCESSION_NUMBER)
        or str(identifier.get("system", "")).startswith(codes.ACCESSION + "/")
    )


def issuer_of(identifier: Mapping[str, Any]) -> str | None:
    """Tell the ODS code of who issued a local identifier.

    Examples
    --------
    >>> issuer_of(accession("A1", "RXX"))
    'RXX'
    """
    system = str(identifier.get("system", ""))
    for base in (codes.ACCESSION, codes.MRN, codes.REQUESTED_PROCEDURE):
        if system.startswith(base + "/"):
            return system.removeprefix(base + "/")
    assigner = identifier.get("assigner", {}).get("identifier", {})
    return find_ods({"identifier": [assigner]})


def _issued(value: str, issuer: str, base: str, *kinds: codes.Coding) -> Identifier:
    return {
        "type": codes.concept(*kinds),
        "system": f"{base}/{issuer}",
        "value": value,
        "assigner": {"identifier": ods(issuer)},
    }


def _value(identifiers: Iterator[Identifier]) -> str | None:
    return next((str(each["value"]) for each in identifiers if each.get("value")), None)
