"""Who and what a person may choose from while they sign in, asked of the record in their name.

What is found went through the gate and is audited like any other question.
"""

from collections.abc import Mapping
from typing import Any, Final

from fhir_server.access.limits import Limits
from fhir_server.access.principal import Principal
from fhir_server.context import RequestContext
from fhir_server.search import query
from fhir_server.store.store import Store
from resources import codes, identifiers
from resources.errors import Forbidden, Gone, Invalid, NotFound, Refusal
from smart_apps.users import User

MOST: Final = 20
"""Patients shown; whoever is not among them is looked for more closely."""

SCOPE: Final = "user/*.rs"
"""As what the person looks for a patient, before any application may."""

ROLES: Final = {
    "referrer": "Referrer",
    "practitioner": "Practitioner (justifies)",
    "operator": "Radiographer",
    "reporter": "Reporting clinician",
    "reviewer": "Reviewing clinician",
    "delegate": "Delegate of a referrer",
    "coordinator": "MDT co-ordinator",
    "auditor": "Auditor",
    "safety-officer": "Clinical safety officer",
    "administrator": "Administrator",
}


async def roles(store: Store, users: list[User]) -> list[tuple[str, str, str]]:
    """List the roles of a login as rows of id, role in words, organisation."""
    context = _ourselves()
    wanted = [f"Organization/{user.organization}" for user in users]
    found = await store.many(context, list(dict.fromkeys(wanted)))
    return [
        (
            user.practitioner_role,
            ROLES.get(user.role, user.role),
            str(found[reference].json.get("name", "")) if reference in found else "",
        )
        for user, reference in zip(users, wanted, strict=True)
    ]


async def practitioner(store: Store, user: User) -> str:
    """Give the Practitioner who acts in this role, as a relative reference.

    Raises
    ------
    Invalid
        The PractitionerRole is gone, or names nobody.
    """
    try:
        role = await store.read(_ourselves(), "PractitionerRole", user.practitioner_role)
    except (NotFound, Gone):
        raise Invalid("the role of this login is gone") from None
    reference = str(role.json.get("practitioner", {}).get("reference", ""))
    _, found, id = reference.rpartition("Practitioner/")
    if not found:
        raise Invalid("the role of this login names no Practitioner")
    return f"Practitioner/{id.partition('/')[0]}"


async def patients(
    store: Store, limits: Limits, user: User, fields: Mapping[str, str], origin: str
) -> list[tuple[str, str, str]]:
    """Find patients that the person may see, by NHS number or by name and date of birth.

    Raises
    ------
    Invalid
        Too little is given to look for one.
    Throttled
        Too often nobody was found.
    """
    nhs = fields.get("nhs", "").replace(" ", "")
    family, born = fields.get("family", "").strip(), fields.get("born", "").strip()
    if nhs:
        asked = [("identifier", f"{codes.NHS_NUMBER}|{nhs}")]
    elif family and born:
        asked = [("family", family.replace(",", "\\,")), ("birthdate", born)]
    else:
        raise Invalid("Give an NHS number, or a family name and a date of birth.")
    parsed = query.parse("Patient", [*asked, ("_count", str(MOST))], strict=True)
    context = person(user, "search-type", origin)
    limits.check_lookup(context.principal)
    page = await store.search(context, parsed)
    if not page.matches:
        limits.found_nobody(context.principal)
    return [(each.id, *_told(each.json)) for each in page.matches]


async def sees(store: Store, user: User, references: list[str], origin: str) -> bool:
    """Say whether the person may read all of these."""
    return await can_read(store, person(user, "read", origin), references)


async def can_read(store: Store, context: RequestContext, references: list[str]) -> bool:
    """Say whether who asks may read all of these, by the scopes they ask with."""
    for reference in references:
        type, _, id = reference.partition("/")
        try:
            await store.read(context, type, id)
        except Refusal as refusal:
            if isinstance(refusal, NotFound | Gone | Forbidden | Invalid):
                return False
            raise
    return True


async def name_of(store: Store, user: User, patient: str, origin: str) -> str:
    """Give the name of a patient whom the person may see."""
    found = await store.read(person(user, "read", origin), "Patient", patient)
    return ", ".join(_told(found.json))


def _told(patient: Mapping[str, Any]) -> tuple[str, str]:
    """The name, and what tells people of one name apart."""
    names = patient.get("name", [{}])
    name = names[0] if names else {}
    given = " ".join(name.get("given", ()))
    said = name.get("text") or f"{str(name.get('family', '')).upper()}, {given}".strip(", ")
    number = identifiers.find_nhs_number(patient)
    more = [
        f"born {patient['birthDate']}" if "birthDate" in patient else "",
        f"NHS number {number}" if number else "",
    ]
    return str(said), ", ".join(filter(None, more))


def person(user: User, interaction: str, origin: str) -> RequestContext:
    """Give the context of what a person asks before any application may."""
    return RequestContext(user.principal(SCOPE), interaction, origin)


def _ourselves() -> RequestContext:
    return RequestContext(Principal.system("authorization"), "read", "authorization")
