"""Withholding: the rows by which Consents and labels keep something from others, or let it be seen.

They are written in the transaction of the resource that says so, and end with it. Most resources
say nothing of the kind, and cost nothing.

References
----------
* `fhir_server.access.withheld`; `resources.consent`
* FHIR Security Labels, "Core Security Labels": confidentiality R (restricted), V (very restricted)
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fhir_server.access.relationship import FOREVER
from fhir_server.postgres.database import Integers, Statement, Texts
from fhir_server.search import date
from fhir_server.store.draft import Draft
from resources import codes, consent
from resources.compartments import patient_of

RESTRICTED: Final = frozenset({"R", "V"})
"""v3 Confidentiality: what only those who wrote it see."""

REMOVE: Final = "delete from withheld where by_type = $1 and by_id = $2"
ADD: Final = """
insert into withheld(by_type, by_id, patient, organization, type, id, since, until)
select $1, $2, $3, o, $5, $6, $7, $8 from unnest($4::text[]) as o
"""
END: Final = """
update relation set until = $4
where organization = any($1::text[]) and patient = $2 and type = 'Consent' and id = $3
  and until > $4
"""
GRANT: Final = """
insert into relation(organization, patient, type, id, until)
select o, $2, 'Consent', $3, u from unnest($1::text[], $4::bigint[]) as g(o, u)
on conflict (organization, patient, type, id) do update set until = excluded.until
"""


def statements(draft: Draft, base_url: str) -> list[Statement]:
    """Give what is to be run with this draft; nothing for most."""
    write = draft.write
    before: Mapping[str, Any] = write.before or {}
    # What was labelled stays so when it is deleted: its versions are still there.
    labelled = before if write.stored.deleted else write.after
    if write.stored.type != "Consent" and not (is_restricted(before) or is_restricted(labelled)):
        return []
    type, id, patient = write.stored.type, write.stored.id, draft.standing.patient
    found: list[Statement] = [(REMOVE, (type, id))]
    if is_restricted(labelled):
        what = ("", "") if type == "Patient" else (type, id)
        found.append((ADD, (type, id, patient or "", Texts([""]), *what, 0, FOREVER)))
    if type == "Consent" and patient is not None:
        found += _said(draft, patient, base_url)
    return found


def _said(draft: Draft, patient: str, base_url: str) -> Iterator[Statement]:
    """What a Consent says, instead of what it said before."""
    write, id, instant = draft.write, draft.write.stored.id, draft.write.stored.instant
    before = consent.provision(write.before or {}, base_url)
    after = consent.provision(write.after, base_url)
    if before is not None and not before.denies:
        whose = patient_of(write.before or {}, base_url)
        yield END, (Texts(before.organizations), whose, id, instant)
    if after is None:
        return
    since = date.period(after.start)[0] if after.start else 0
    until = date.period(after.end)[1] if after.end else FOREVER
    if after.denies:
        whom = Texts(after.organizations or [""])
        yield ADD, ("Consent", id, patient, whom, "", "", since, until)
    elif since <= instant:
        ends = Integers([until] * len(after.organizations))
        yield GRANT, (Texts(after.organizations), patient, id, ends)


def is_restricted(json: Mapping[str, Any]) -> bool:
    """Say whether a resource is labelled for those alone who wrote it."""
    return any(
        label.get("system") == codes.V3_CONFIDENTIALITY and label.get("code") in RESTRICTED
        for label in json.get("meta", {}).get("security", ())
    )
