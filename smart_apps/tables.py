"""Tables of the authorisation server: clients, logins, sign-ins, authorisations, tokens.

Of a token, a code or the cookie of a sign-in its SHA-256 is kept, never the thing itself.
"""

from sqlalchemy import BigInteger, Column, Identity, Index, LargeBinary
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from fhir_server.postgres.columns import KeyText


class ClientRow(SQLModel, table=True):
    """An OAuth client (RFC 6749 Section 2; SMART App Launch, "Registering a SMART App")."""

    __tablename__ = "client"

    id: str = Field(sa_type=KeyText, primary_key=True)
    kind: str = Field(sa_type=KeyText)
    """``public``, ``jwks`` (private_key_jwt) or ``secret``."""
    scope: str = Field(sa_type=KeyText)
    """All that it may ever ask for."""
    organization: str = Field(sa_type=KeyText)
    """Id of the Organization that it acts for."""
    redirect_uris: list[str] = Field(
        sa_column=Column(ARRAY(KeyText()), nullable=False), default_factory=list
    )
    jwks: str | None = Field(default=None, sa_type=KeyText)
    """Its public keys, a JSON Web Key Set (RFC 7517 Section 5)."""
    secret: str | None = Field(default=None, sa_type=KeyText)
    """Derived from its secret, as `passwords` does; the secret itself is not kept."""
    created: int = Field(sa_type=BigInteger)
    launch_url: str | None = Field(default=None, sa_type=KeyText)
    """Where an EHR launch begins (SMART App Launch, "Launch App: EHR Launch")."""
    jwks_uri: str | None = Field(default=None, sa_type=KeyText)
    """Where its public keys are, if not in `jwks`."""
    disabled: int | None = Field(default=None, sa_type=BigInteger)
    """Since when it may do nothing; null: it may."""
    epoch: str = Field(default="", sa_type=KeyText, sa_column_kwargs={"server_default": ""})
    """Stands in its tokens; those of the epochs before are withdrawn."""


class RegistrationRow(SQLModel, table=True):
    """What an application asks to be registered with (RFC 7591); it can do nothing yet."""

    __tablename__ = "registration"

    id: str = Field(sa_type=KeyText, primary_key=True)
    name: str = Field(sa_type=KeyText)
    """What it calls itself."""
    kind: str = Field(sa_type=KeyText)
    scope: str = Field(sa_type=KeyText)
    redirect_uris: list[str] = Field(
        sa_column=Column(ARRAY(KeyText()), nullable=False), default_factory=list
    )
    jwks: str | None = Field(default=None, sa_type=KeyText)
    jwks_uri: str | None = Field(default=None, sa_type=KeyText)
    secret: str | None = Field(default=None, sa_type=KeyText)
    instant: int = Field(sa_type=BigInteger)


class LoginRow(SQLModel, table=True):
    """A local login of a person."""

    __tablename__ = "login"

    login: str = Field(sa_type=KeyText, primary_key=True)
    password: str = Field(sa_type=KeyText)
    """As `passwords` derives it."""
    created: int = Field(sa_type=BigInteger)


class LoginRoleRow(SQLModel, table=True):
    """A role at an organisation that the person of a login acts in; there may be several."""

    __tablename__ = "login_role"

    login: str = Field(sa_type=KeyText, primary_key=True)
    practitioner_role: str = Field(sa_type=KeyText, primary_key=True)
    """Id of the PractitionerRole."""
    organization: str = Field(sa_type=KeyText)
    """Id of the Organization that the PractitionerRole names."""
    role: str = Field(sa_type=KeyText)
    """A key of `roles.ROLES`."""
    created: int = Field(sa_type=BigInteger)


class SignInRow(SQLModel, table=True):
    """A browser in which somebody has signed in; `digest` is that of its cookie."""

    __tablename__ = "sign_in"

    digest: bytes = Field(sa_type=LargeBinary, primary_key=True)
    login: str = Field(sa_type=KeyText)
    practitioner_role: str = Field(sa_type=KeyText)
    """The role chosen; empty until it is."""
    instant: int = Field(sa_type=BigInteger)
    expires: int = Field(sa_type=BigInteger)
    request: bytes | None = Field(default=None, sa_type=LargeBinary)
    """Digest of the authorisation request that the person signed in for."""


class LaunchRow(SQLModel, table=True):
    """A context to launch an app in, waiting for the app to ask for authorisation."""

    __tablename__ = "launch"

    digest: bytes = Field(sa_type=LargeBinary, primary_key=True)
    login: str = Field(sa_type=KeyText)
    practitioner_role: str = Field(sa_type=KeyText)
    context: str = Field(sa_type=KeyText)
    """JSON: patient, encounter, fhirContext, intent."""
    expires: int = Field(sa_type=BigInteger)


class AuthorizedRow(SQLModel, table=True):
    """What a person has let a client do; every token of it falls with it."""

    __tablename__ = "authorized"
    __table_args__ = (Index("authorized_login", "login", "client"),)

    id: str = Field(sa_type=KeyText, primary_key=True)
    client: str = Field(sa_type=KeyText)
    login: str = Field(sa_type=KeyText)
    practitioner_role: str = Field(sa_type=KeyText)
    scope: str = Field(sa_type=KeyText)
    context: str = Field(sa_type=KeyText)
    """JSON: the launch context, the nonce and the Practitioner."""
    signed_in: int = Field(sa_type=BigInteger)
    instant: int = Field(sa_type=BigInteger)
    withdrawn: int | None = Field(default=None, sa_type=BigInteger)


class AuthorizationCodeRow(SQLModel, table=True):
    """An authorisation code, good once (RFC 6749 Section 4.1.2)."""

    __tablename__ = "authorization_code"

    digest: bytes = Field(sa_type=LargeBinary, primary_key=True)
    authorized: str = Field(sa_type=KeyText)
    redirect_uri: str = Field(sa_type=KeyText)
    challenge: str = Field(sa_type=KeyText)
    """S256 (RFC 7636 Section 4.2)."""
    expires: int = Field(sa_type=BigInteger)
    used: bool


class RefreshTokenRow(SQLModel, table=True):
    """A refresh token, good once: its use gives the next one."""

    __tablename__ = "refresh_token"

    digest: bytes = Field(sa_type=LargeBinary, primary_key=True)
    authorized: str = Field(sa_type=KeyText)
    expires: int = Field(sa_type=BigInteger)
    used: bool


class ClientAssertionRow(SQLModel, table=True):
    """An assertion that a client has authenticated with; none is taken twice (RFC 7523)."""

    __tablename__ = "client_assertion"

    client: str = Field(sa_type=KeyText, primary_key=True)
    jti: str = Field(sa_type=KeyText, primary_key=True)
    expires: int = Field(sa_type=BigInteger)


class AttemptRow(SQLModel, table=True):
    """A failed attempt to sign in, by the login or by the address it came from."""

    __tablename__ = "attempt"
    __table_args__ = (Index("attempt_subject", "subject", "instant"),)

    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    subject: str = Field(sa_type=KeyText)
    instant: int = Field(sa_type=BigInteger)


class WithdrawnRow(SQLModel, table=True):
    """A token (its ``jti``) or an authorisation that counts no more, until its tokens end."""

    __tablename__ = "withdrawn"

    id: str = Field(sa_type=KeyText, primary_key=True)
    expires: int = Field(sa_type=BigInteger)


class UpstreamSignInRow(SQLModel, table=True):
    """A sign-in under way at another identity provider; `digest` is that of its ``state``."""

    __tablename__ = "upstream_sign_in"

    digest: bytes = Field(sa_type=LargeBinary, primary_key=True)
    browser: bytes
    """Digest of the cookie of the browser that began it."""
    request: str = Field(sa_type=KeyText)
    """The authorisation request that it serves, as a query string."""
    nonce: str = Field(sa_type=KeyText)
    verifier: str = Field(sa_type=KeyText)
    """Of PKCE; it is of use to us alone, and only together with the code."""
    expires: int = Field(sa_type=BigInteger)
