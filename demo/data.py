"""The people and places of the demonstration: all invented, with codes that are not in use.

NHS numbers are of the range 999, which is kept for tests. ODS codes begin with ZZ9. Nobody here
exists; a likeness of names is chance.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from resources import codes

Json = dict[str, Any]

PASSWORD: Final = "kettle harbour umbrella"
"""Of every demonstration login. A server with demo data is not one for patients."""


DESK: Final = ("admin", "auditor", "safety")
"""Logins that may use the pages at `/admin`: an administrator, an auditor, a safety officer."""


class Place(NamedTuple):
    """An organisation: its id, its ODS code, its name and what kind it is."""

    id: str
    ods: str
    name: str
    kind: str


class Person(NamedTuple):
    """A person in one role at one place: `login` names the Practitioner and the role too."""

    login: str
    place: str
    role: str
    given: str
    family: str
    register: str
    number: str
    specialty: str

    @property
    def display(self) -> str:
        """The name as it is spoken."""
        return f"Dr {self.given} {self.family}" if self.title else f"{self.given} {self.family}"

    @property
    def title(self) -> bool:
        """Whether they are on the medical register."""
        return self.register == "GMC"


class Individual(NamedTuple):
    """A patient, and the organisations that have to do with them from the start."""

    id: str
    nhs_number: str
    given: str
    family: str
    gender: str
    born: str
    practice: str
    hospital: str


PLACES: Final = (
    Place("northmoor", "ZZ901", "Northmoor Hospitals (demonstration)", "NHS trust, lead provider"),
    Place("westvale", "ZZ902", "Westvale Neurosciences (demonstration)", "NHS trust"),
    Place("clearscan", "ZZ903", "Clearscan Imaging (demonstration)", "Independent provider"),
    Place("harbour", "ZZ904", "Harbour Street Surgery (demonstration)", "GP practice"),
    Place("quayside", "ZZ905", "Quayside Practice (demonstration)", "GP practice"),
)

REGISTERS: Final[Mapping[str, str]] = {
    "GMC": codes.GMC_NUMBER,
    "HCPC": codes.HCPC_NUMBER,
    "SDS": codes.SDS_USER,
}
SPECIALTIES: Final[Mapping[str, str]] = {
    "General practice": "394814009",
    "Radiology": "394914008",
    "Neuroradiology": "1321161000000104",
    "Neurosurgery": "394610002",
}
"""SNOMED CT, as in UKCore-PracticeSettingCode."""

_PEOPLE: Final = """
gp | harbour | referrer | Amara Osei | GMC C9990001 | General practice
gp2 | harbour | referrer | Tom Ferris | GMC C9990002 | General practice
delegate | harbour | delegate | Nia Rowlands | SDS 999000000016 | General practice
practitioner | northmoor | practitioner | Ravi Menon | GMC C9990003 | Radiology
operator | northmoor | operator | Jo Lindqvist | HCPC RA999004 | Radiology
reporter | northmoor | reporter | Helen Castell | GMC C9990005 | Neuroradiology
coordinator | northmoor | coordinator | Priya Nair | SDS 999000000006 | Radiology
auditor | northmoor | auditor | Colin Marsh | SDS 999000000007 | Radiology
safety | northmoor | safety-officer | Maria Duarte | GMC C9990008 | Radiology
admin | northmoor | administrator | Lee Barton | SDS 999000000009 | Radiology
reviewer | westvale | reviewer | Marek Zielinski | GMC C9990010 | Neurosurgery
westvale-practitioner | westvale | practitioner | Ann Poole | GMC C9990011 | Radiology
westvale-coordinator | westvale | coordinator | Sian Rees | SDS 999000000012 | Neurosurgery
westvale-reporter | westvale | reporter | Elena Duval | GMC C9990017 | Neuroradiology
clearscan-practitioner | clearscan | practitioner | Owen Hale | GMC C9990013 | Radiology
clearscan-operator | clearscan | operator | Mia Brandt | HCPC RA999014 | Radiology
clearscan-reporter | clearscan | reporter | Yusuf Demir | GMC C9990015 | Radiology
"""

_PATIENTS: Final = """
winter  | 9990000107 | Sadie Winter  | female | 1962-04-17 | harbour  | northmoor
brook   | 9990000204 | Alfie Brook   | male   | 1949-11-02 | harbour  | northmoor
adeyemi | 9990000301 | Tola Adeyemi  | female | 1987-08-30 | harbour  | clearscan
quist   | 9990000409 | Erik Quist    | male   | 1971-01-09 | quayside | westvale
"""


def _rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.split("|")] for row in table.strip().splitlines()]


def _read_person(row: list[str]) -> Person:
    login, place, role, name, registered, specialty = row
    given, family = name.split()
    register, number = registered.split()
    return Person(login, place, role, given, family, register, number, specialty)


def _read_patient(row: list[str]) -> Individual:
    id, number, name, gender, born, practice, hospital = row
    given, family = name.split()
    return Individual(id, number, given, family, gender, born, practice, hospital)


PEOPLE: Final = tuple(map(_read_person, _rows(_PEOPLE)))
PATIENTS: Final = tuple(map(_read_patient, _rows(_PATIENTS)))

AGREEMENTS: Final[tuple[tuple[str, str, str, tuple[str, ...]], ...]] = (
    ("northmoor", "clearscan", "acquires-for", ("delegated-justification",)),
    ("northmoor", "clearscan", "reports-for", ("automatic-acceptance",)),
    ("northmoor", "westvale", "reviews-for", ("direct-release-to-reviewer",)),
)

PEERS: Final = (
    ("ACCEPT", "127.0.0.1", 14300, "northmoor"),
    ("CT1", "127.0.0.1", 14301, "northmoor"),
    ("CT2", "127.0.0.1", 14302, "clearscan"),
)

BACKEND_SCOPES: Final = "system/*.cruds"
APP_SCOPES: Final = (
    "launch launch/patient openid fhirUser offline_access online_access patient/*.rs user/*.cruds"
)
APP_REDIRECTS: Final = ("http://127.0.0.1:18999/cb", "http://localhost:18999/cb")


def person(login: str) -> Person:
    """The person of that login."""
    return next(one for one in PEOPLE if one.login == login)


def place(id: str) -> Place:
    """The organisation of that id."""
    return next(one for one in PLACES if one.id == id)


def described(settings: Mapping[str, str]) -> Json:
    """What ``demo.json`` says, for scripts and tests (the same names in every release).

    Parameters
    ----------
    settings
        `fhir_base`, `dicomweb_base`, `host`, `port`, `ae` and `jwk_file`.
    """
    return {
        "fhir_base": settings["fhir_base"],
        "dicomweb_base": settings["dicomweb_base"],
        "dicom": {
            "host": settings["host"],
            "port": int(settings["port"]),
            "ae": settings["ae"],
        },
        "organizations": [
            {"id": one.id, "name": one.name, "ods": one.ods, "kind": one.kind} for one in PLACES
        ],
        "users": [
            {
                "login": one.login,
                "password": PASSWORD,
                "role": one.role,
                "name": one.display,
                "organization": one.place,
                "ods": place(one.place).ods,
                "practitioner_role": one.login,
            }
            for one in PEOPLE
        ],
        "clients": [
            {
                "id": "demo-backend",
                "type": "jwks",
                "redirect_uris": [],
                "scopes": BACKEND_SCOPES,
                "organization": "northmoor",
                "jwk_file": settings["jwk_file"],
            },
            {
                "id": "demo-app",
                "type": "public",
                "redirect_uris": list(APP_REDIRECTS),
                "scopes": APP_SCOPES,
                "organization": "northmoor",
                "jwk_file": None,
            },
        ],
        "peers": [
            {"ae": ae, "host": host, "port": port, "organization": organization}
            for ae, host, port, organization in PEERS
        ],
        "patients": [
            {
                "id": one.id,
                "nhs_number": one.nhs_number,
                "family": one.family,
                "given": one.given,
                "birth_date": one.born,
            }
            for one in PATIENTS
        ],
        "studies": [],
    }
