"""The gate: the one place where "may they?" is answered.

Four questions, in this order, and the first "no" names itself in the refusal and in the audit:

1. **scope**: does the token grant this letter on this type?
2. **patient**: a ``patient/`` scope grants only what is about the patient in the token's context;
3. **role**: may somebody in this role do it?
4. **relationship**: has the organisation to do with the patient, or with the resource itself, or
   does, for reading, who created it share it (`sharing`); and is it not withheld (`withheld`)?

`reach` answers the first three and says what the fourth asks of the rows of a query; `permit`
answers all four for one resource; `narrow` fastens the reach to a query. ``user/`` and
``system/`` scopes differ in who may be given them, which is for the authorisation server to
decide; here the role limits both. Emergency access stands in place of a relationship, for reading
what there is of one patient (`emergency`).

SMART App Launch 2.2, "Scopes and Launch Context".
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from fhir_server.access import emergency, roles
from fhir_server.access.principal import Principal
from fhir_server.access.relationship import OPEN_TYPES
from fhir_server.access.scopes import Only
from fhir_server.context import RequestContext
from resources.errors import Forbidden

ESTABLISHES: Final = {
    "referrer":    frozenset({"Patient", "ServiceRequest"}),
    "application": frozenset({"Patient", "ServiceRequest"}),
    "device":      frozenset({"Patient"}),
}  # fmt: skip
"""What a role may create about a patient its organisation has nothing to do with yet: only a
referral makes a relationship with a patient who is known here, and it stands in the audit as one.
Naming oneself in anything else does not."""

SHARED: Final = frozenset({"Patient"})
"""What every organisation that has to do with the patient may correct, whoever wrote it."""

PERSONAL: Final = frozenset({"Subscription"})
"""What is seen by nobody but who made it: where it is sent, and with which secrets, is theirs."""

_SEAL: Final = object()


class Reach(NamedTuple):
    """How far a principal sees into one type.

    Parameters
    ----------
    everything
        The system: no row is hidden.
    organization
        Rows that name this organisation, whose patient it has to do with, or whose creator
        shares with it; of what is `PERSONAL`, rows of this `party`.
    patient
        Only rows about this patient.
    open
        Rows about no patient are seen as well.
    only
        What a row must match, one of these alternatives; empty for no such demand.
    emergency
        Every row about `patient`, whoever has to do with them and whatever is withheld.
    """

    everything: bool
    organization: str | None
    patient: str | None
    open: bool
    only: tuple[Only, ...] = ()
    emergency: bool = False


class Permit:
    """A yes that can be carried: who holds it was allowed `letter` on this resource.

    Only the gate makes one.
    """

    __slots__ = ("id", "letter", "type")

    def __init__(self, letter: str, type: str, id: str, *, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("only the gate gives permits")
        self.letter = letter
        self.type = type
        self.id = id

    def __repr__(self) -> str:
        return f"Permit({self.letter} {self.type}/{self.id})"


class Narrowable(Protocol):
    """A query over one type, as far as the gate knows it."""

    @property
    def type(self) -> str:
        """The resource type asked for."""

    @property
    def reach(self) -> Any:
        """What the principal may see of it."""


AnyQuery = TypeVar("AnyQuery", bound=Narrowable)


def party(principal: Principal, type: str) -> str | None:
    """Give as whom a principal is a party to a resource: their organisation, by its id.

    To what is `PERSONAL` it is themselves, by the client that they use; with scopes for one
    patient alone, for that patient. No organisation has such an id.

    Examples
    --------
    >>> from fhir_server.access.scopes import parse
    >>> who = Principal("Client/x", "lead", "application", parse("system/*.rs"), None, "x")
    >>> party(who, "Task"), party(who, "Subscription")
    ('lead', 'lead Client/x x')
    """
    if type not in PERSONAL or principal.role == "system":
        return principal.organization
    wide = any(
        grant.context != "patient" and grant.type in ("*", type)
        for grant in principal.scopes.grants
    )
    bound = () if wide else (f"Patient/{principal.patient}",)
    return " ".join((principal.organization or "", principal.subject, principal.client, *bound))


def reach(context: RequestContext, letter: str, type: str) -> Reach:
    """Answer scope, patient context and role; say what relationship asks of each row.

    Raises
    ------
    Forbidden
        Its `step` is ``scope``, ``patient``, ``role`` or ``emergency``.
    """
    principal = context.principal
    if principal.role == "system":
        return Reach(everything=True, organization=None, patient=None, open=True)
    patient, only = _granted(principal, letter, type)
    if letter not in roles.letters(principal.role, type, context.use):
        raise Forbidden(f"a {principal.role} may not {_VERBS[letter]} {type}", step="role")
    if principal.emergency is not None:
        _check_emergency(context, letter)
        return Reach(
            False, principal.organization, principal.patient, type in OPEN_TYPES, only, True
        )
    bound = None if type in PERSONAL else patient  # which `party` says
    return Reach(False, party(principal, type), bound, type in OPEN_TYPES, only)


def permit(
    context: RequestContext,
    letter: str,
    type: str,
    *,
    patient: str | None,
    organizations: Collection[str],
    related: bool,
    id: str = "",
    terms: Collection[str] | None = None,
) -> Permit:
    """Answer all four questions for one resource.

    Parameters
    ----------
    patient
        Id of the Patient the resource is about, if it is about one.
    organizations
        Ids of the organisations that are parties to it: of the state before an update or a
        delete, of what is to be written for a create.
    related
        The principal's organisation has to do with the patient (see `relationship`).
    id
        Logical id of the resource, if it has one yet.
    terms
        Index terms of the resource; only search-scoped scopes look at them, and refuse without.

    Raises
    ------
    Forbidden
        Its `step` names the first question answered with no.
    """
    extent = reach(context, letter, type)
    if not extent.everything:
        if extent.only and not _matches(extent.only, type, terms):
            raise Forbidden(f"the scopes grant only some {type}", step="scope")
        unbound = patient is None and extent.open
        if extent.patient not in (None, patient) and not unbound:
            raise Forbidden(f"this {type} is not about the token's patient", step="patient")
        related = related or extent.emergency
        if not _related(context.principal, letter, type, patient, organizations, related):
            raise Forbidden(_UNRELATED[letter == "c"].format(type=type), step="relationship")
    return Permit(letter, type, id, seal=_SEAL)


def narrow(context: RequestContext, query: AnyQuery) -> AnyQuery:
    """Fasten to a query what its principal may see, so that totals and pages are right."""
    return replace(query, reach=reach(context, "s", query.type))  # type: ignore[type-var]


_UNRELATED: Final = (
    "the organisation has nothing to do with this {type}",
    "there is no such patient, or the organisation has nothing to do with them",
)
"""A {type} that is there; one that is to be: which of the two is so is not told."""

_VERBS: Final = {"c": "create", "r": "read", "u": "update", "d": "delete", "s": "search"}


def _check_emergency(context: RequestContext, letter: str) -> None:
    """Refuse what an emergency access is not for, and all of it when it has ended."""
    principal = context.principal
    emergency.check_role(principal.role)
    if principal.emergency is None or context.instant >= principal.emergency.until:
        raise Forbidden("the emergency access has ended", step="emergency")
    if letter not in emergency.LETTERS:
        raise Forbidden("emergency access is for reading", step="emergency")


def _granted(principal: Principal, letter: str, type: str) -> tuple[str | None, tuple[Only, ...]]:
    """Say to which patient and to which alternatives the scopes bind.

    A grant for all patients counts before one for the patient in context.
    """
    wide = principal.scopes.alternatives(type, letter, ("user", "system"))
    if wide is not None:
        return None, wide
    bound = principal.scopes.alternatives(type, letter, ("patient",))
    if bound is None:
        raise Forbidden(f"the scopes do not grant to {_VERBS[letter]} {type}", step="scope")
    if principal.patient is None:
        raise Forbidden(f"a patient scope for {type} needs a patient in context", step="patient")
    return principal.patient, bound


def _matches(only: tuple[Only, ...], type: str, terms: Collection[str] | None) -> bool:
    """Say whether the index terms of a resource match one of the alternatives."""
    initials = "".join(letter for letter in type if letter.isupper())
    return terms is not None and any(
        all(
            any(f"{initials}.{code}={value}" in terms for value in values.split(","))
            for code, values in alternative
        )
        for alternative in only
    )


def _related(
    principal: Principal,
    letter: str,
    type: str,
    patient: str | None,
    organizations: Collection[str],
    related: bool,
) -> bool:
    """Answer the fourth question.

    To read, it is enough that the organisation has to do with the patient. To change a resource,
    it must be a party to it: what another organisation said stays theirs to correct. An entry of a
    directory is written by the organisation it names; nobody says who works for another.
    """
    own = party(principal, type) in organizations
    named_only = patient is None and type in OPEN_TYPES
    if letter == "c" and named_only:
        return own or not organizations or type == "Organization"
    if letter == "c":
        return patient is None or related or type in ESTABLISHES.get(principal.role, ())
    if letter in "ud":
        if named_only and principal.role == "administrator":
            return own or not organizations
        return own or (related and (not organizations or type in SHARED))
    return own or related or (patient is None and type in OPEN_TYPES)
