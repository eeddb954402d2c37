"""Identity: the person in whose name a peer asks, negotiated with the association.

A username with its passcode is a login of ours, a JSON Web Token an access token that we have
issued. Whoever proves to be somebody acts as that person, at the organisation of the peer, and may
do what that person may; whoever does not is rejected. A username alone proves nothing, and Kerberos
and SAML are not ours: those are passed over without a word, as the standard has it of acceptors
that do not support them.

References
----------
* PS3.7 Section D.3.3.7 (User Identity Negotiation), Tables D.3-14 and D.3-15
* PS3.15 Section B.7 (Basic User Identity Association Profile), B.6 (User Identity Plus Passcode)
"""

import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from pynetdicom.pdu_primitives import UserIdentityNegotiation

from fhir_server.access.principal import Principal
from resources.errors import Unauthenticated

PASSCODE: Final = 2
TOKEN: Final = 5
"""User-Identity-Types that we support (PS3.7 Table D.3-14)."""


class Person(NamedTuple):
    """Who somebody has proved to be, and whether that still counts."""

    principal: Principal
    is_withdrawn: Callable[..., bool]

    @property
    def counts(self) -> bool:
        """Whether the proof has neither ended nor been withdrawn."""
        who = self.principal
        has_ended = 0 < who.expires <= time.time()
        return not has_ended and not self.is_withdrawn(*who.withdrawable)


Identify = Callable[[str, str, str, str], Coroutine[Any, Any, Person]]
"""Says who somebody is by login and passcode or, without a login, by a token; of which
organisation, and from which address. Raises Unauthenticated."""


def asked(association: Any) -> UserIdentityNegotiation | None:
    """Give what an association says of its user, if it is of a type that we support."""
    item: UserIdentityNegotiation | None = association.requestor.user_identity
    return item if item is not None and item.user_identity_type in (PASSCODE, TOKEN) else None


async def proved(
    identify: Identify, item: UserIdentityNegotiation, organization: str, address: str
) -> Person:
    """Say who it is.

    Raises
    ------
    Unauthenticated
        Nobody of that organisation.
    """
    try:
        primary = (item.primary_field or b"").decode()
        secondary = (item.secondary_field or b"").decode()
    except UnicodeDecodeError as error:
        raise Unauthenticated("neither a login nor a token") from error
    if item.user_identity_type == TOKEN:
        primary, secondary = "", primary
    elif not primary:
        raise Unauthenticated("no login")
    return await identify(primary, secondary, organization, address)


def answer(association: Any, item: UserIdentityNegotiation) -> None:
    """Respond positively, if that was asked for; nothing stands in the response."""
    if item.positive_response_requested:
        response = UserIdentityNegotiation()
        response.server_response = b""
        association.acceptor.add_negotiation_item(response)
