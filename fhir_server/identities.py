"""Identities: who a person is who asks over DICOM, with a login of ours or with an access token."""

from typing import Final

from dicom_bridge.dimse.identity import Person
from fhir_server.access.token import TokenChecker
from fhir_server.access.withdrawn import Withdrawn
from fhir_server.context import now
from resources.errors import Unauthenticated
from smart_apps.authorization.signing_in import SignInDesk

SCOPE: Final = "user/*.cruds"
"""Whoever signs in over DICOM may do what their role may: no application stands between."""


class Identities:
    """Where people prove who they are.

    Parameters
    ----------
    desk
        Looks at passwords, slowly and not too often.
    checker
        Reads access tokens; it knows those of `withdrawn`.
    """

    def __init__(self, desk: SignInDesk, checker: TokenChecker, withdrawn: Withdrawn) -> None:
        self._desk = desk
        self._checker = checker
        self._withdrawn = withdrawn

    async def identify(self, login: str, proof: str, organization: str, address: str) -> Person:
        """Say who it is, by login and password or, without a login, by an access token.

        Raises
        ------
        Unauthenticated
            Nobody who acts for that organisation.
        """
        if not login:
            principal = self._checker.check(proof)
        else:
            acting, reason = await self._desk.proved(login, proof, address, now())
            own = [user for user in acting if user.organization == organization]
            if not own:
                raise Unauthenticated(reason or "nobody of that organisation", code="login")
            principal = own[0].principal(SCOPE)
        if principal.organization != organization:
            raise Unauthenticated("the token is of another organisation", code="login")
        return Person(principal, self._withdrawn.has)
