"""The people and places of the demonstration as FHIR resources."""

from typing import Any

from demo.data import (
    AGREEMENTS,
    PATIENTS,
    PEOPLE,
    PLACES,
    REGISTERS,
    SPECIALTIES,
    Individual,
    Person,
    Place,
)
from resources import codes
from resources.agreement import AFFILIATION_CODE
from smart_apps.users import ROLE

Json = dict[str, Any]


def resources() -> list[Json]:
    """Everything of the demonstration, in an order in which each may be written alone."""
    return [
        *map(_organization, PLACES),
        *(one for place in PLACES[:3] for one in _scanner(place)),
        *(one for person in PEOPLE for one in (_practitioner(person), _role(person))),
        *(_affiliation(*agreement) for agreement in AGREEMENTS),
        *map(_patient, PATIENTS),
    ]


def _organization(place: Place) -> Json:
    return {
        "resourceType": "Organization",
        "id": place.id,
        "identifier": [{"system": codes.ODS_ORGANIZATION, "value": place.ods}],
        "active": True,
        "type": [{"text": place.kind}],
        "name": place.name,
    }


def _scanner(place: Place) -> tuple[Json, Json, Json]:
    """A CT scanner: where it stands, the device, and the service that is booked."""
    owner = {"reference": f"Organization/{place.id}"}
    title = "CT1" if place.id == "northmoor" else f"CT1_{place.ods}"
    return (
        {
            "resourceType": "Location",
            "id": f"{place.id}-ct",
            "status": "active",
            "name": "CT room 1",
            "managingOrganization": owner,
        },
        {
            "resourceType": "Device",
            "id": f"{place.id}-ct1",
            "identifier": [{"system": codes.AE_TITLE, "value": title}],
            "status": "active",
            "deviceName": [{"name": "CT scanner 1", "type": "user-friendly-name"}],
            "owner": owner,
            "location": {"reference": f"Location/{place.id}-ct"},
        },
        {
            "resourceType": "HealthcareService",
            "id": f"{place.id}-ct",
            "active": True,
            "providedBy": owner,
            "name": "Computed tomography",
            "location": [{"reference": f"Location/{place.id}-ct"}],
        },
    )


def _practitioner(person: Person) -> Json:
    prefix = {"prefix": ["Dr"]} if person.title else {}
    return {
        "resourceType": "Practitioner",
        "id": person.login,
        "identifier": [{"system": REGISTERS[person.register], "value": person.number}],
        "active": True,
        "name": [{"use": "official", "family": person.family, "given": [person.given], **prefix}],
    }


def _role(person: Person) -> Json:
    specialty = {
        "system": codes.SNOMED,
        "code": SPECIALTIES[person.specialty],
        "display": person.specialty,
    }
    return {
        "resourceType": "PractitionerRole",
        "id": person.login,
        "active": True,
        "practitioner": {
            "reference": f"Practitioner/{person.login}",
            "display": person.display,
        },
        "organization": {"reference": f"Organization/{person.place}"},
        "code": [{"coding": [{"system": ROLE, "code": person.role}]}],
        "specialty": [{"coding": [specialty]}],
    }


def _affiliation(lead: str, partner: str, code: str, terms: tuple[str, ...]) -> Json:
    return {
        "resourceType": "OrganizationAffiliation",
        "id": f"{partner}-{code}-{lead}",
        "extension": [{"url": f"{codes.OURS}/{term}", "valueBoolean": True} for term in terms],
        "active": True,
        "organization": {"reference": f"Organization/{lead}"},
        "participatingOrganization": {"reference": f"Organization/{partner}"},
        "code": [{"coding": [{"system": AFFILIATION_CODE, "code": code}]}],
    }


def _patient(patient: Individual) -> Json:
    return {
        "resourceType": "Patient",
        "id": patient.id,
        "identifier": [{"system": codes.NHS_NUMBER, "value": patient.nhs_number}],
        "active": True,
        "name": [{"use": "official", "family": patient.family, "given": [patient.given]}],
        "gender": patient.gender,
        "birthDate": patient.born,
        "generalPractitioner": [{"reference": f"Organization/{patient.practice}"}],
        "managingOrganization": {"reference": f"Organization/{patient.hospital}"},
    }
