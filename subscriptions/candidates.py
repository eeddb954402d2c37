"""Candidates: for whom what has fired is an event: by index terms, by filters, and by the gate.

The terms of a change find the subscriptions that may match it; their filters are then asked in
memory, and of the database where memory does not know; and last the gate, whether the subscriber
may see the resource now. An event is made only for who may.

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, "Safety and Security"
* `fhir_server.access.gate`: the four questions
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

from fhir_server.access import gate
from fhir_server.access.gate import Reach
from fhir_server.access.principal import Principal
from fhir_server.audit import ledger
from fhir_server.context import RequestContext
from fhir_server.postgres.database import Database, Texts, unnest
from fhir_server.search import find
from fhir_server.search.criterion import Criterion
from fhir_server.search.query import Query
from fhir_server.search.token import Token
from fhir_server.store import reading
from fhir_server.store.changes import Change
from fhir_server.store.reading import Asked
from resources import topics
from resources.errors import Exhausted, Forbidden, Refusal
from resources.search_parameters import generation
from subscriptions import matching
from subscriptions.firing import Step
from subscriptions.registration import fired, queries_of

LIVE: Final = f"""
select k from {unnest("text[]")} as k
where exists (select from subscription_term where term >= k and term < k || '!')
"""
"""Of the keys of what may fire, those that a subscription has: a term is a key, or a key, a space
and an index term, and ``!`` is what comes after the space."""

FOUND: Final = f"""
select t.term, s.since_log, s.since_xid, s.id, s.criteria, s.principal
from {unnest("text[]")} as term
join subscription_term as t using (term)
join subscription as s on s.id = t.subscription
where s.started > 0 and (s.ending is null or s.ending > $2)
  and (s.authorized = '' or not exists (select from withdrawn as w where w.id = s.authorized))
order by s.id
"""
"""Who may be told of what has one of these terms, of lines from a place in the log on: `started`
says that events are counted at all."""

TOO_COSTLY: Final = "too-costly"
"""How the search says that it gave up, and not that the database is away."""

SEEN: Final = f"{reading.GATED} select n, seen, patient, organizations from r order by n"


_log = logging.getLogger(__name__)


class Candidate(NamedTuple):
    """What a change fires: a topic, or, where that is empty, plain criteria."""

    change: Change
    step: Step
    topic: str


class Meant(NamedTuple):
    """A subscription that may be told."""

    candidate: Candidate
    id: str
    criteria: str
    principal: str


async def live(database: Database, types: Iterable[str]) -> dict[str, frozenset[str]]:
    """Give by type the topics that somebody has subscribed to; an empty one is plain criteria."""
    keys = {
        fired(topic, type): (type, topic)
        for type in types
        for topic in ("", *(url for url, _ in topics.of_type(type)))
    }
    found: dict[str, set[str]] = {}
    for (key,) in await database.run(LIVE, (Texts(keys),)):
        type, topic = keys[key]
        found.setdefault(type, set()).add(topic)
    return {type: frozenset(listed) for type, listed in found.items()}


async def chosen(
    database: Database, candidates: Sequence[Candidate], base_url: str, instant: int
) -> list[tuple[Candidate, str]]:
    """Give the subscriptions that are told of each candidate, in order."""
    meant = await _found(database, candidates, instant)
    meant = [one for one in meant if await _is_met(database, one, base_url, instant)]
    return [(one.candidate, one.id) for one in await _seen(database, meant, instant)]


async def _found(database: Database, candidates: Sequence[Candidate], instant: int) -> list[Meant]:
    """Find by terms who may be told; each term is looked up once, however many have it."""
    having: dict[str, list[int]] = {}
    for n, (_, step, topic) in enumerate(candidates):
        key = fired(topic, step.after.type)
        having.setdefault(key, []).append(n)
        for word in step.told.words:
            having.setdefault(f"{key} {word}", []).append(n)
    if not having:
        return []
    found: dict[tuple[int, str], Meant] = {}
    for term, log, xid, *columns in await database.run(FOUND, (Texts(having), instant)):
        for n in having[term]:
            one = candidates[n]
            if (one.change.log, one.change.xid) >= (log, xid):
                found[n, columns[0]] = Meant(one, *columns)
    return [found[at] for at in sorted(found)]


async def _is_met(database: Database, one: Meant, base_url: str, instant: int) -> bool:
    """Whether the filters of a subscription let a candidate through."""
    state = one.candidate.step.told
    query = _queries(one.candidate.topic, one.criteria, base_url, generation()).get(state.type)
    if query is None:
        return False
    answer = matching.meets(query, state, instant)
    if answer is not None:
        return answer
    context = _context(one.principal, "search-type", instant)
    this = Criterion("_id", "token", "", (Token(None, state.id),))
    asked = replace(query, criteria=(this, *query.criteria), count=1, total="none")
    try:
        return bool(await find.find_ids(database, gate.narrow(context, asked), context))
    except Forbidden:
        return False
    except Exhausted as refusal:
        if refusal.code != TOO_COSTLY:
            raise
        return True  # rather one event too many than one too few; the gate is still asked


async def _seen(database: Database, meant: Sequence[Meant], instant: int) -> list[Meant]:
    """Ask the gate who may see what they would be told of."""
    asked: list[tuple[Meant, RequestContext, Reach]] = []
    for one in meant:
        context = _context(one.principal, "notification", instant)
        try:
            reach = gate.reach(context, "r", one.candidate.change.type)
        except Forbidden:
            continue
        asked.append((one, context, reach))
    if not asked:
        return []
    asks = [
        Asked(one.candidate.change.type, one.candidate.change.id, None, reach, ledger.entry(who))
        for one, who, reach in asked
    ]
    rows = await database.run(SEEN, reading.parameters(asks))
    return [
        one
        for (one, who, reach), (_, seen, patient, organizations) in zip(asked, rows, strict=True)
        if seen and _is_granted(one, who, reach, patient, organizations)
    ]


def _is_granted(
    one: Meant,
    context: RequestContext,
    reach: Reach,
    patient: str | None,
    organizations: Sequence[str],
) -> bool:
    """Ask a scope that grants only some resources of a type about this one."""
    if not reach.only:
        return True
    state = one.candidate.step.told
    try:
        gate.permit(
            context,
            "r",
            state.type,
            patient=patient,
            organizations=organizations,
            related=True,  # that the row is seen says so
            id=state.id,
            terms=state.words,
        )
    except Forbidden:
        return False
    return True


def _context(principal: str, interaction: str, instant: int) -> RequestContext:
    return RequestContext(_principal(principal), interaction, "subscriptions", "", instant)


@lru_cache(maxsize=20_000)
def _principal(text: str) -> Principal:
    return Principal.read(text)


@lru_cache(maxsize=20_000)
def _queries(topic: str, criteria: str, base_url: str, generation: int) -> dict[str, Query]:
    """Read what was accepted once; a parameter may have been taken away since."""
    try:
        return queries_of(topic, json.loads(criteria), base_url)
    except Refusal as refusal:
        _log.warning("a subscription asks for what is gone, and is not told: %s", refusal.reason)
        return {}
