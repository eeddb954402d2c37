"""Meetings: the agenda of an MDT meeting lets the organisations that take part see its patients.

An agenda is a List, code mdt-agenda, whose entries are about patients. There take part who keeps
it (its creator, its source), who is in an Appointment that names it as supporting information,
and who is in a CareTeam that such an Appointment names besides; they see the List itself. While
it is current and worked on, and the meeting is not over, they have to do with each patient on
it; some days longer when it is over; and no more once the entry is removed or they do not take
part. Nobody is related to a patient by somebody who has nothing to do with them.

All of it is worked out anew in the transaction of what it follows from, behind a lock of the
List: of two that write at the same time, the later sees what the earlier has written.

References
----------
* Requirements R020.1, R020.2, workflow 4-7; FHIR R4 List, Appointment, CareTeam
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from fhir_server.access.relationship import DAY, FOREVER
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Statement, Texts
from fhir_server.store.admission import Admission
from fhir_server.store.draft import Draft, Key
from fhir_server.store.targets import Target
from resources import codes, elements, references
from resources.errors import Forbidden

_AGENDA: Final = f"'L.code={codes.MDT_AGENDA.token}'"

_CONCERNED: Final = """
  select unnest($1::text[])
  union select split_part(t, '/', 2) from current as a, unnest(a.terms) as t
    where a.type = 'Appointment' and a.terms && $2::text[] and t like 'A.supporting-info=List/%'
  union select id from current where type = 'List' and terms && $3::text[]
"""
"""Lists by their id, by the team of the Appointment, and by what is on them."""

LOCK: Final = f"""
select id from current where type = 'List' and id in ({_CONCERNED}) order by id for update
"""

RELATE: Final = f"""
with agenda as materialized (
  select id, organizations, terms, terms @> array['L.status=current', 'L.mode=working'] as works
  from current where type = 'List' and id in ({_CONCERNED}) and not deleted
    and terms @> array[{_AGENDA}] and not terms @> array['L.status=entered-in-error']
), meeting as materialized (
  select l.id, a.organizations, a.terms,
    a.terms && array['A.status=fulfilled', 'A.status=cancelled', 'A.status=noshow'] as over
  from agenda as l join current as a
    on a.type = 'Appointment' and a.terms @> array['A.supporting-info=List/' || l.id]
  where not a.deleted and not a.terms @> array['A.status=entered-in-error']
), part as materialized (
  select id, organizations[1] as organization from agenda
  union select l.id, split_part(o, '=Organization/', 2)
    from agenda as l, unnest(l.terms) as t, current as r, unnest(r.terms) as o
    where t like 'L.source=%' and r.type = split_part(substr(t, 10), '/', 1)
      and r.id = split_part(t, '/', 2) and o like '%.organization=Organization/%'
  union select id, unnest(organizations) from meeting
  union select m.id, unnest(c.organizations)
    from meeting as m, unnest(m.terms) as t, current as c
    where t like 'A.supporting-info=CareTeam/%' and c.type = 'CareTeam'
      and c.id = split_part(t, '/', 2) and not c.deleted
), about as materialized (
  select distinct l.id, c.patient from agenda as l, unnest(l.terms) as t, current as c
  where t like 'L.item=%' and c.type = split_part(substr(t, 8), '/', 1)
    and c.id = split_part(t, '/', 2) and c.patient is not null
), wanted as materialized (
  select part.organization, about.patient, l.id from agenda as l
  join part on part.id = l.id and part.organization <> '' join about on about.id = l.id
  where l.works and coalesce((select bool_or(not over) from meeting where id = l.id), true)
), begun as (
  insert into relation(organization, patient, type, id, until)
  select organization, patient, 'List', id, {FOREVER} from wanted as w
  where $6::text is null or exists (select from relation as r where r.organization = $6::text
                                    and r.patient = w.patient and r.until > $4::bigint
                                    and not r.limited)
  on conflict (organization, patient, type, id) do update set
    until = excluded.until, limited = false
), ended as (
  update relation as r set until = least(until, case
      when exists (select from wanted as w where w.id = r.id) then $4::bigint
      when exists (select from about as a where a.id = r.id and a.patient = r.patient)
        then $5::bigint
      else $4::bigint end)
  where r.type = 'List' and r.id in ({_CONCERNED}) and r.until > $4::bigint and not exists (
    select from wanted as w
    where w.id = r.id and w.organization = r.organization and w.patient = r.patient)
)
update current as c set organizations = array_prepend(c.organizations[1], array(
    select p.organization from part as p
    where p.id = c.id and p.organization not in ('', c.organizations[1]) order by 1))
from agenda as l where c.type = 'List' and c.id = l.id
"""


def check(
    draft: Draft,
    targets: Mapping[Key, Target],
    own: Mapping[Key, Draft],
    admission: Admission,
    base_url: str,
) -> None:
    """Let only who keeps an agenda change it, and put on it only whom they have to do with.

    Parameters
    ----------
    targets, own
        What was found behind references; what the same unit of work writes.

    Raises
    ------
    Forbidden
        By the step ``relationship``.
    """
    context = draft.context
    if context.principal.role == "system" or draft.key[0] not in ("Appointment", "List"):
        return
    before, after = draft.write.before or {}, draft.write.after
    if draft.key[0] == "Appointment":
        for key in set(_lists(after, base_url)) - set(_lists(before, base_url)) - own.keys():
            if key not in targets or context.principal.organization not in targets[key].parties:
                raise Forbidden("only who takes part says for when", step="relationship")
        return
    if _is_agenda(before) and not _keeps(draft):
        raise Forbidden("an agenda is changed by who keeps it", step="relationship")
    if _is_agenda(after) and after.get("mode") == "working":
        items = [entry.get("item") for entry in after.get("entry", ())]
        for key in _keys(items, base_url):
            is_known, patient = _patient(key, targets, own)
            if not is_known or (patient and not admission.is_related(context, patient)):
                raise Forbidden(
                    "there is no such patient, or the organisation has nothing to do with them",
                    step="relationship",
                )


def statements(
    drafts: Iterable[Draft], context: RequestContext, base_url: str, keep_days: int
) -> list[Statement]:
    """Give what is to be run after these drafts are written; nothing for most.

    Parameters
    ----------
    context
        Who writes them: nobody else is let in by it than by them.
    """
    lists, teams, items = set[str](), set[str](), set[str]()
    for draft in drafts:
        type, id = draft.key
        before = draft.write.before or {}
        if type == "List" and (_is_agenda(before) or _is_agenda(draft.write.after)):
            lists.add(id)
        elif type == "Appointment":
            for json in (before, draft.write.after):
                lists |= {its_id for _, its_id in _lists(json, base_url)}
        elif type == "CareTeam":
            teams.add(f"A.supporting-info=CareTeam/{id}")
        if draft.target is not None and draft.target.patient != draft.standing.patient:
            items.add(f"L.item={type}/{id}")
    if not (lists or teams or items):
        return []
    whose = (Texts(sorted(lists)), Texts(sorted(teams)), Texts(sorted(items)))
    writer, instant = context.principal, context.instant
    organization = None if writer.role == "system" else writer.organization or ""
    return [
        (LOCK, whose),
        (RELATE, (*whose, instant, instant + keep_days * DAY, organization)),
    ]


def _is_agenda(json: Mapping[str, Any]) -> bool:
    return codes.has(json.get("code"), codes.MDT_AGENDA)


def _keeps(draft: Draft) -> bool:
    """Say whether the writer created the agenda, or is its source and stays it."""
    organization = draft.context.principal.organization
    before, after = draft.write.before or {}, draft.write.after
    return organization == draft.creator or (
        before.get("source") == after.get("source") and organization in draft.standing.parties
    )


def _lists(json: Mapping[str, Any], base_url: str) -> list[Key]:
    """The Lists that an Appointment names as supporting information."""
    named = _keys(json.get("supportingInformation"), base_url)
    return [key for key in named if key[0] == "List"]


def _keys(value: object, base_url: str) -> Iterator[Key]:
    for literal in elements.references(value):
        reference = references.parse(literal, base_url)
        if reference is not None and not reference.base:
            yield reference.type, reference.id


def _patient(
    key: Key, targets: Mapping[Key, Target], own: Mapping[Key, Draft]
) -> tuple[bool, str | None]:
    """Whether something is there, and whom it is about."""
    if key in own:
        return True, own[key].standing.patient
    found = targets.get(key)
    return (False, None) if found is None or not found.exists else (True, found.patient)
