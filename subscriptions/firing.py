"""Firing: which topics a change of a resource fires, before anybody's filters.

References
----------
* FHIR R4B SubscriptionTopic.resourceTrigger: supportedInteraction, queryCriteria, "requireBoth"
"""

from collections.abc import Collection
from functools import cache, cached_property
from urllib.parse import parse_qsl

from fhir_server.search.stored import Stored
from fhir_server.search.terms import index
from resources import topics
from resources.topics import Trigger
from subscriptions import criteria, matching
from subscriptions.matching import State


class Step:
    """A resource before and after one change, indexed as far as somebody looks.

    Parameters
    ----------
    before
        The state before; None where there was none, or it was deleted.
    """

    def __init__(self, before: Stored | None, after: Stored, base_url: str) -> None:
        self.before = before if before is not None and not before.deleted else None
        self.after = after
        self._base_url = base_url

    @cached_property
    def was(self) -> State | None:
        """The state before, as the index saw it."""
        return None if self.before is None else self._state(self.before)

    @cached_property
    def now(self) -> State | None:
        """The state after, as the index sees it; None of a deletion."""
        return None if self.after.deleted else self._state(self.after)

    @property
    def told(self) -> State:
        """The state that filters look at: of a deletion, what was deleted."""
        state = self.now or self.was
        assert state is not None
        return state

    def fires(self, among: Collection[str], instant: int) -> list[str]:
        """Name the topics that the change fires.

        Parameters
        ----------
        among
            The URLs of the topics that anybody wants to know of.
        """
        return list(
            dict.fromkeys(
                url
                for url, trigger in topics.of_type(self.after.type)
                if url in among and self._fires(trigger, instant)
            )
        )

    def _fires(self, trigger: Trigger, instant: int) -> bool:
        if self.after.interaction not in trigger.interactions:
            return False
        met = [
            self._meets(text, state, otherwise, instant)
            for text, state, otherwise in (
                (trigger.previous, "was", trigger.on_create),
                (trigger.current, "now", trigger.on_delete),
            )
            if text
        ]
        if met and not (all(met) if trigger.both else any(met)):
            return False
        if not trigger.changed:
            return True
        if self.before is None or self.after.deleted:
            return False
        return topics.differs(self.before.json, self.after.json, trigger.changed)

    def _meets(self, text: str, state: str, otherwise: bool, instant: int) -> bool:
        found: State | None = getattr(self, state)
        if found is None:
            return otherwise
        query = criteria.query(found.type, _pairs(text), self._base_url)
        return matching.meets(query, found, instant) is True

    def _state(self, stored: Stored) -> State:
        terms = index(stored.json, self._base_url)
        return matching.state(stored.type, stored.id, stored.instant, terms)


@cache
def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Read the query of a topic once."""
    return tuple(parse_qsl(text, keep_blank_values=True))
