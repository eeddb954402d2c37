"""What was there before a change, and whether the asker may change it.

References
----------
* FHIR http, "Managing Resource Contention"; docs/representation.md, "Versions are evidence"
"""

from typing import Final

from fhir_server.access import gate
from fhir_server.search.stored import Stored
from fhir_server.store.asking import Asking
from fhir_server.store.targets import Target
from resources.errors import Forbidden, Immutable, NotFound, Stale, Unconditional

CONDITIONAL: Final = frozenset(
    {"Appointment", "DiagnosticReport", "List", "ServiceRequest", "Task"}
)
"""Types that change hands: whoever updates one names the version it knows.

docs/representation.md, "Versions are evidence".
"""

FINAL: Final = frozenset({"AuditEvent", "Provenance"})
"""Records of what was done; they are never changed."""


class Preceding(Asking):
    """The half of a unit of work that looks at what it is going to change."""

    async def _before(
        self, letter: str, type: str, id: str, if_match: int | None
    ) -> tuple[Stored | None, Target | None]:
        """The state that is to be changed, and what was current before this unit of work."""
        last = self._drafts.last.get((type, id))
        if last is not None:
            return last.write.stored, last.target
        target = await self._look_up(type, id)
        if target.stored is None:
            return None, None
        if type in FINAL and target.is_seen(self._acting):
            raise Immutable(f"{type} is a record of what was done and is not changed.")
        try:
            self._permit(letter, target)
        except NotFound as hidden:
            if if_match is not None:
                raise no_version(type, id, if_match) from hidden.__cause__
            raise
        return target.stored, target

    def _permit_first(self, type: str, id: str, if_match: int | None) -> None:
        """Ask the gate about a first version under an id of the asker's choice.

        Who may not write one is told the same as of a resource that is there and not seen.
        """
        if if_match is not None:
            gate.reach(self._acting, "u", type)
            raise no_version(type, id, if_match)
        try:
            gate.reach(self._acting, "c", type)
        except Forbidden as refusal:
            gate.reach(self._acting, "u", type)
            raise nothing(type, id) from refusal

    def _require_match(self, before: Stored, if_match: int | None) -> None:
        if if_match is not None:
            if if_match != before.version:
                raise Stale(f"{before.reference} has moved on from version {if_match}.")
        elif (
            self._around.strictly
            and before.type in CONDITIONAL
            and self._acting.principal.role != "system"
        ):
            raise Unconditional(f"A change of {before.type} names the version it changes.")

    def _instant(self, before: Stored | None) -> int:
        """When a version is written: never before the one it follows, had it to wait for that."""
        own = self.context.instant
        return own if before is None else max(own, before.instant)


def no_version(type: str, id: str, version: int) -> Stale:
    """Refuse a change of a version of what the asker is not to know of, or is not there."""
    return Stale(f"There is no {type}/{id}, so it has no version {version}.")


def nothing(type: str, id: str) -> NotFound:
    """Refuse what is about nothing, or about nothing that the asker may see."""
    return NotFound(f"There is no {type}/{id}.")
