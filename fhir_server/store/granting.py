"""Granting: the rows by which a Consent lets organisations read single resources.

They are written in the transaction of the Consent and end with it; what was ended is ended for
every clock, however slow, and is kept, so that what was made while it counted can be told from the
rest. What the server grants may have no end; what a person grants, they see by a relation that is
not limited, or created.

References
----------
* `fhir_server.access.granted`; `resources.consent`
* FHIR R4 Consent.provision.data
"""

from collections.abc import Iterator, Mapping
from typing import Final

from fhir_server.access.relationship import FOREVER
from fhir_server.postgres.database import Statement, Texts
from fhir_server.search import date
from fhir_server.store.admission import Admission
from fhir_server.store.draft import Draft, Key
from fhir_server.store.targets import Target
from resources import consent, references
from resources.errors import Forbidden, Unprocessable

END: Final = f"""
update granted set since = {FOREVER}, until = least(until, $2)
where by_id = $1 and since < {FOREVER}
"""
GRANT: Final = """
insert into granted(organization, type, id, by_id, patient, creator, since, until)
select o, d.type, d.id, $1, $5, $6, $7, $8
from unnest($2::text[]) as o, unnest($3::text[], $4::text[]) as d(type, id)
on conflict (organization, type, id, by_id) do update set
  patient = excluded.patient, creator = excluded.creator,
  since = excluded.since, until = excluded.until
"""


def check(
    draft: Draft,
    targets: Mapping[Key, Target],
    own: Mapping[Key, Draft],
    admission: Admission,
    base_url: str,
) -> None:
    """Let a permit be given by who has to do with the patient, of what they see of that patient.

    Parameters
    ----------
    targets, own
        What was found behind references; what the same unit of work writes.

    Raises
    ------
    Forbidden
        By the step ``relationship``.
    Unprocessable
        What is granted is not here, or not about the patient.
    """
    context = draft.context
    if context.principal.role == "system" or draft.key[0] != "Consent":
        return
    said = consent.provision(draft.write.after, base_url)
    if said is None or said.denies:
        return
    patient = draft.standing.patient
    if not admission.is_related(context, patient):
        raise Forbidden("who permits has to do with the patient", step="relationship")
    for literal in said.data:
        key = _key(literal, base_url)
        if key is None or patient != _about(key, targets, own):
            raise Unprocessable(
                "What is granted is a resource of this server about the patient.",
                "Consent.provision.data",
            )
        if key not in own and targets[key].withheld:
            raise Forbidden("nobody grants what is kept from them", step="relationship")


def statements(draft: Draft, base_url: str) -> list[Statement]:
    """Give what is to be run with this draft; nothing for most types."""
    return list(_said(draft, base_url)) if draft.key[0] == "Consent" else []


def _said(draft: Draft, base_url: str) -> Iterator[Statement]:
    """What a Consent grants, instead of what it granted before."""
    write, writer, patient = draft.write, draft.context.principal, draft.standing.patient
    if write.stored.version > 1:
        yield END, (write.stored.id, write.stored.instant)
    said = None if write.stored.deleted else consent.provision(write.after, base_url)
    if said is None or not said.data or patient is None:
        return
    if not said.end and writer.role != "system":
        return
    keys = sorted({key for literal in said.data if (key := _key(literal, base_url))})
    whom = Texts(sorted(set(said.organizations)))
    what = Texts([type for type, _ in keys]), Texts([id for _, id in keys])
    by = draft.creator if writer.role == "system" else writer.organization or "-"
    since = date.period(said.start)[0] if said.start else 0
    until = date.period(said.end)[1] if said.end else FOREVER
    yield GRANT, (write.stored.id, whom, *what, patient, by, since, until)


def _key(literal: str, base_url: str) -> Key | None:
    reference = references.parse(literal, base_url)
    if reference is None or reference.base:
        return None
    return reference.type, reference.id


def _about(key: Key, targets: Mapping[Key, Target], own: Mapping[Key, Draft]) -> str | None:
    """The patient that something is about, if it is there."""
    if key in own:
        return own[key].standing.patient
    found = targets.get(key)
    return found.patient if found is not None and found.exists else None
