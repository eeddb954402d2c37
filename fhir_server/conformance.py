"""Conformance: claimed profiles made binding, where the operator wants them to be.

By default a profile that a resource claims and breaks is a warning, told by ``$validate`` and where
a write answers an OperationOutcome. With ``validation=strict`` the write is refused.

References
----------
* FHIR http, "create": 422 for what "violated applicable FHIR profiles or server business rules"
* `resources.profiles`: the profiles that are known
"""

from collections.abc import Mapping
from typing import Any

from fhir_server.context import RequestContext
from fhir_server.store.surroundings import Hooks, Rule
from resources import profiles
from resources.errors import Unprocessable
from resources.models import TYPES


def binding(hooks: Hooks) -> Hooks:
    """Give the same hooks, with a rule for every type that its claims must be kept."""
    return hooks._replace(rules={type: _with_claims(hooks.rules.get(type)) for type in TYPES})


def _with_claims(rule: Rule | None) -> Rule:
    def checked(
        before: dict[str, Any] | None, after: dict[str, Any], context: RequestContext
    ) -> None:
        if context.principal.role != "system":
            require_kept(after)
        if rule is not None:
            rule(before, after, context)

    return checked


def require_kept(resource: Mapping[str, Any]) -> None:
    """Refuse a resource that claims a profile and breaks it, or one that nobody here knows.

    Raises
    ------
    Unprocessable
        With all that is broken.
    """
    claims = profiles.check(resource)
    if issues := [*claims.broken, *claims.unknown]:
        raise Unprocessable(issues=issues)
