"""Withholding: the rows by which Consents and labels keep something from others, or let it be seen.

What is not released yet bears a label that the server gives and takes, and nobody else.

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
from fhir_server.access.withheld import UNRELEASED
from fhir_server.postgres.database import Integers, Statement, Texts
from fhir_server.search import date
from fhir_server.store.draft import Draft
from resources import codes, consent
from resources import content as contents
from resources.compartments import patient_of
from resources.content import Content
from resources.errors import Forbidden

RESTRICTED: Final = frozenset({"R", "V"})
"""v3 Confidentiality: what only those who wrote it see."""

HOLDABLE: Final = frozenset({"DiagnosticReport", "ImagingStudy"})
"""What comes from one organisation and is released by another."""

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
    if write.stored.type != "Consent" and not (_is_labelled(before) or _is_labelled(labelled)):
        return []
    type, id, patient = write.stored.type, write.stored.id, draft.standing.patient
    found: list[Statement] = [(REMOVE, (type, id))]
    if is_restricted(labelled):
        what = ("", "") if type == "Patient" else (type, id)
        found.append((ADD, (type, id, patient or "", Texts([""]), *what, 0, FOREVER)))
    if is_unreleased(labelled):
        whom = Texts([UNRELEASED])
        found.append((ADD, (type, id, patient or "", whom, type, id, 0, FOREVER)))
    if type == "Consent" and patient is not None:
        found += _said(draft, patient, base_url)
    return found


def _said(draft: Draft, patient: str, base_url: str) -> Iterator[Statement]:
    """What a Consent says, instead of what it said before."""
    write, id, instant = draft.write, draft.write.stored.id, draft.write.stored.instant
    before = consent.provision(write.before or {}, base_url)
    after = consent.provision(write.after, base_url)
    if before is not None and not before.denies and not before.data:
        whose = patient_of(write.before or {}, base_url)
        yield END, (Texts(before.organizations), whose, id, instant)
    if after is None or after.data:
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


def is_unreleased(json: Mapping[str, Any]) -> bool:
    """Say whether a resource is labelled as not released yet."""
    return json.get("resourceType") in HOLDABLE and codes.UNRELEASED.json in _labels(json)


def kept(before: Mapping[str, Any] | None, content: Content) -> Content:
    """Give what somebody writes the label of what is not released, if it had it.

    Raises
    ------
    Forbidden
        It is to get the label by somebody who is not the server.
    """
    if content.type not in HOLDABLE:
        return content
    had, has = is_unreleased(before or {}), is_unreleased(content.json)
    if has and not had:
        raise Forbidden("what is released is for the server to say", step="relationship")
    if has or not had:
        return content
    meta = content.json.get("meta", {})
    security = [*meta.get("security", ()), codes.UNRELEASED.json]
    return contents.replaced(content, {"meta": {**meta, "security": security}})


def _is_labelled(json: Mapping[str, Any]) -> bool:
    return is_restricted(json) or is_unreleased(json)


def _labels(json: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The security labels, each as the code that it is."""
    found = json.get("meta", {}).get("security", ())
    return [{name: one.get(name) for name in codes.UNRELEASED.json} for one in found]
