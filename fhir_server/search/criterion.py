"""Criterion: one parameter with its alternatives, and what it leads to along references.

References
----------
* FHIR R4 search, "Search Parameter Types", "Chained Parameters", "Reverse Chaining"
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from fhir_server.search.composite import Combination
from fhir_server.search.date import Range
from fhir_server.search.near import Near
from fhir_server.search.number import Amount
from fhir_server.search.quantity import Measure
from fhir_server.search.token import Token
from resources.errors import Invalid

Value: TypeAlias = (
    Token | Range | Amount | Measure | Combination | Near | tuple[str, ...] | str | bool
)
"""A token, a period or number with its prefix, a quantity, the parts of a composite, a place, the
references meant, a folded text or URI, or (missing) a yes or no."""


class Unusable(Invalid):
    """A parameter that this server cannot use: refused if the client is strict, else ignored."""


class Chain(NamedTuple):
    """What must be at the other end of a reference: a resource of this type that meets a criterion.

    Parameters
    ----------
    back
        The parameter of `type` that must refer here (``_has``); empty where the criterion that has
        the chain names a reference from here to `type`.
    """

    type: str
    criterion: "Criterion"
    back: str = ""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One parameter with its alternatives: a resource matches if one of them does.

    Parameters
    ----------
    kind
        The kind of the parameter; ``compartment`` for "in the compartment of", which has one value.
    modifier
        ``not``, ``contains``, ``missing``, or for the server's own use ``like``.
    chain
        For a chained parameter, what is at the other end; there are no `values` then.
    either
        For a chain that may lead to several types, a criterion for each, and nothing else.
    """

    code: str
    kind: str
    modifier: str = ""
    values: tuple[Value, ...] = ()
    chain: Chain | None = None
    either: tuple["Criterion", ...] = ()

    @property
    def ends(self) -> Iterator[str]:
        """The types that its chains lead to, on the way and at the end."""
        for each in self.either:
            yield from each.ends
        if self.chain is not None:
            yield self.chain.type
            yield from self.chain.criterion.ends

    @property
    def leaves(self) -> int:
        """How many plain criteria it comes down to."""
        if self.either:
            return sum(each.leaves for each in self.either)
        return 1 if self.chain is None else self.chain.criterion.leaves


def like(code: str, pattern: str) -> Criterion:
    """Ask for texts by a LIKE pattern, already folded and escaped (see `string.pattern`)."""
    return Criterion(code, "string", "like", (pattern,))


def compartment(reference: str) -> Criterion:
    """Ask for what is in the compartment of a resource, ``Encounter/1``."""
    return Criterion("", "compartment", "", ((reference,),))
