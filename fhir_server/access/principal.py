"""Principal: who is asking - a user in a role, a client, a DICOM peer, or the system itself."""

import json
from dataclasses import dataclass
from typing import Self

from fhir_server.access.emergency import Emergency
from fhir_server.access.scopes import EVERYTHING, Scopes, parse


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, and on whose behalf. Where it came from no longer matters.

    Parameters
    ----------
    subject
        A relative reference or a name: ``PractitionerRole/x``, ``Client/demo-backend``,
        ``Peer/CT1``, ``System/settle``. It stands in every audit row.
    organization
        Id of the Organization acted for; None for the system alone.
    role
        A key of `roles.ROLES`.
    scopes
        What the token grants (SMART v2).
    patient
        Id of the one Patient the token is bound to, if it is.
    client
        The OAuth client that asked; empty for peers and the system.
    expires
        Seconds since 1970 UTC; 0 means never (peers, the system).
    withdrawable
        Ids by which its token may be withdrawn: the token's own, that of its client's epoch, and
        its authorisation's.
    authorized
        Id of the authorisation that its token comes from, if a person gave one.
    emergency
        The emergency access that it was given to `patient`, if it was.
    purpose
        A key of `purposes.PURPOSES` that its token names; empty: that of its role.
    """

    subject: str
    organization: str | None
    role: str
    scopes: Scopes
    patient: str | None = None
    client: str = ""
    expires: int = 0
    withdrawable: tuple[str, ...] = ()
    authorized: str = ""
    emergency: Emergency | None = None
    purpose: str = ""

    @classmethod
    def system(cls, name: str) -> Self:
        """The server's own work, named: judged and audited like any other."""
        return cls(f"System/{name}", None, "system", EVERYTHING)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `written` wrote.

        Examples
        --------
        >>> who = Principal("Client/x", "lead", "application", parse("system/*.rs"), None, "x")
        >>> Principal.read(who.written) == who
        True
        """
        subject, organization, role, scope, patient, client, *rest = json.loads(text)
        purpose = rest[0] if rest else ""  # what an earlier release wrote
        return cls(subject, organization, role, parse(scope), patient, client, purpose=purpose)

    @property
    def written(self) -> str:
        """For what is done in its name later: all but what belongs to its token alone."""
        return json.dumps([self.subject, self.organization, self.role, self.scopes.text,
                           self.patient, self.client, self.purpose])  # fmt: skip
