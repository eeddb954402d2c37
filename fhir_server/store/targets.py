"""What stands behind a reference: one lookup for all that a unit of work needs to know.

References of everything that is to be written, the current rows behind updates, and whether the
organisation has to do with the patients concerned: one statement answers all of it, and units
of work that ask at the same time share that statement.

References
----------
* FHIR References, "Literal References"
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from fhir_server.access import gate, granted, sharing, withheld
from fhir_server.access.relationship import OPEN_TYPES
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Integers, Texts, Transaction, unnest
from fhir_server.postgres.gathering import Gathering
from fhir_server.search.stored import Stored


class Wanted(NamedTuple):
    """A question about one resource.

    Parameters
    ----------
    version
        Does this version exist?
    whole
        Give the bytes of the current version too.
    """

    type: str
    id: str
    version: int | None = None
    whole: bool = False


class Target(NamedTuple):
    """The answer: what is current under a type and id; `key` is None where nothing ever was.

    Parameters
    ----------
    organizations
        First the one that created it (empty: the system), then the parties.
    acts_for
        The Organization that a PractitionerRole, HealthcareService, ... belongs to.
    related
        The asking organisation has to do with the patient; for a Patient, with that patient,
        even if there is none under this id.
    bound
        It is not, but has a limited relation, or had one.
    added_to
        It has any relation: it may add to the record of the patient.
    has_version
        The version asked for exists.
    withheld
        It is kept from the asking organisation, whatever its relations.
    shared
        Who created it shares with the asking organisation what they create: it may be read.
    granted
        A Consent grants it to the asking organisation: it may be read.
    limited
        Ids of the organisations whom a request asks for a part of the work alone.
    """

    type: str
    id: str
    key: int | None
    version: int
    deleted: bool
    patient: str | None
    organizations: tuple[str, ...]
    acts_for: str | None
    related: bool
    bound: bool
    added_to: bool
    has_version: bool
    withheld: bool
    shared: bool
    granted: bool
    limited: frozenset[str]
    stored: Stored | None

    @property
    def exists(self) -> bool:
        """Something is there, and the version asked for was."""
        return self.key is not None and not self.deleted and self.has_version

    @property
    def creator(self) -> str:
        """Id of the organisation that created it; empty for the system."""
        return self.organizations[0] if self.organizations else ""

    @property
    def parties(self) -> frozenset[str]:
        """Ids of the organisations that created it or are named in it."""
        return frozenset(self.organizations) - {""}

    @property
    def is_let_in(self) -> bool:
        """Whether it may be read, by what others agreed or granted."""
        return self.shared or self.granted

    def is_seen(self, context: RequestContext) -> bool:
        """Whether the asker's relationships, and the patient of the token, let them see it."""
        who = context.principal
        bound = None if self.type in gate.PERSONAL else who.patient
        return self.is_reached(context, bound)

    def is_known(self, context: RequestContext) -> bool:
        """Whether what the asker writes may refer to it: by relationships, not if it is shared.

        Who refers to a request or a study takes part: the server does what follows. What is granted
        may be referred to by who may add to the record.
        """
        known = self._replace(shared=False, granted=self.granted and self.added_to)
        return known.is_seen(context)

    def is_reached(self, context: RequestContext, bound: str | None) -> bool:
        """Whether their relationships do, as far as they are bound to a patient (`gate.Reach`)."""
        who = context.principal
        if who.role == "system":
            return True
        is_open = self.patient is None and self.type in OPEN_TYPES
        if bound not in (None, self.patient) and not is_open:
            return False
        if self.withheld:
            return False
        if is_open or self.related or self.is_let_in:
            return True
        return gate.party(who, self.type) in self.organizations


_FULL, _LIMITED, _LIMITED_ONCE = 3, 2, 1
_RELATED: Final = """relation as r where r.organization = q.organization
      and r.patient = coalesce(c.patient, case when q.type = 'Patient' then q.id end)"""

LOOK_UP: Final = f"""
select q.n, c.key, c.version, c.deleted, c.patient, c.organizations,
  case when q.type in ('PractitionerRole', 'HealthcareService', 'Location', 'Device', 'Endpoint')
    then (select split_part(term, '=Organization/', 2) from unnest(c.terms) as term
          where term like '%.organization=Organization/%' limit 1) end,
  case when exists (select from {_RELATED} and r.until > q.instant and not r.limited) then {_FULL}
    when exists (select from {_RELATED} and r.until > q.instant) then {_LIMITED}
    when exists (select from {_RELATED} and r.limited) then {_LIMITED_ONCE} else 0 end,
  q.version is null or q.version = c.version
    or exists (select from version as v
               where v.type = q.type and v.id = q.id and v.version = q.version
                 and v.interaction <> 'D'),
  c.key is not null and q.organization is not null
    and not {withheld.seen("c", "q.organization", "q.instant")},
  c.key is not null and {sharing.seen("c", "q.organization", "q.instant")},
  c.key is not null and {granted.seen("c", "q.organization", "q.instant")},
  case when q.type = 'ServiceRequest' then array(
    select r.organization from relation as r where r.organization = any(c.organizations)
    and r.patient = c.patient and r.type = q.type and r.id = q.id and r.limited) end,
  w.instant, w.interaction, w.body
from {unnest("text[]", "text[]", "bigint[]", "bigint[]", "text[]", "bigint[]")}
  with ordinality as q(type, id, version, whole, organization, instant, n)
left join lateral (select * from current where type = q.type and id = q.id limit 1) as c on true
left join lateral (select * from version where key = c.key and q.whole = 1 limit 1) as w on true
"""

Question = tuple[RequestContext, Sequence[Wanted]]
Answer = dict[tuple[str, str], Target]


class Targets:
    """The way to look targets up."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gathering: Gathering[Question, Answer] = Gathering(self._answer, lanes=2)

    async def look_up(
        self, context: RequestContext, wanted: Iterable[Wanted], within: Transaction | None
    ) -> Answer:
        """Answer by (type, id); a version that does not exist makes its target not exist.

        Parameters
        ----------
        within
            The transaction that the unit of work is already in.
        """
        asked = list(dict.fromkeys(wanted))
        if not asked:
            return {}
        if within is not None:
            (answer,) = await look_up(within, [(context, asked)])
            return answer
        return await self._gathering.ask((context, asked))

    async def _answer(self, questions: list[Question]) -> list[Answer | Exception]:
        return list(await look_up(self._database, questions))


async def look_up(database: Database | Transaction, questions: Sequence[Question]) -> list[Answer]:
    """Look up the targets of several units of work with one statement."""
    asked = [(n, context, want) for n, (context, all) in enumerate(questions) for want in all]
    rows = await database.run(
        LOOK_UP,
        (
            Texts([want.type for _, _, want in asked]),
            Texts([want.id for _, _, want in asked]),
            Integers([want.version for _, _, want in asked]),
            Integers([int(want.whole) for _, _, want in asked]),
            Texts([gate.party(context.principal, want.type) for _, context, want in asked]),
            Integers([context.instant for _, context, _ in asked]),
        ),
    )
    answers: list[Answer] = [{} for _ in questions]
    for row in rows:
        n, context, want = asked[row[0] - 1]
        target = _target(want, row)
        if context.principal.emergency is not None:
            target = _in_emergency(context, target)
        same = answers[n].get((want.type, want.id))
        answers[n][want.type, want.id] = target if same is None else _merged(same, target)
    return answers


def _target(want: Wanted, row: tuple[Any, ...]) -> Target:
    _, key, version, deleted, patient, organizations, acts_for, relation, *more = row
    has_version, withheld, shared, granted, limited, *whole = more
    instant, interaction, body = whole
    return Target(
        want.type,
        want.id,
        key,
        version or 0,
        bool(deleted),
        patient,
        tuple(organizations or ()),
        acts_for,
        relation == _FULL,
        relation in (_LIMITED, _LIMITED_ONCE),
        relation in (_FULL, _LIMITED),
        has_version,
        bool(withheld),
        bool(shared),
        bool(granted),
        frozenset(limited or ()),
        None
        if instant is None
        else Stored(want.type, want.id, version, instant, interaction, body or b""),
    )


def _in_emergency(context: RequestContext, target: Target) -> Target:
    """What an emergency access is for is neither unrelated to whoever has it nor withheld."""
    about = target.id if target.type == "Patient" else target.patient
    if about is None or about != context.principal.patient:
        return target._replace(related=False, shared=False, granted=False)
    return target._replace(related=True, withheld=False)


def _merged(one: Target, other: Target) -> Target:
    """Two answers about one resource, asked for with different versions or bytes."""
    return one._replace(
        has_version=one.has_version and other.has_version, stored=one.stored or other.stored
    )
