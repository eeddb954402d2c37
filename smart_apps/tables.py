"""Tables of the authorisation server: registered clients, local logins."""

from typing import Any

from sqlalchemy import BigInteger, Column, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel


def _text(*, primary_key: bool = False, nullable: bool = False) -> Column[Any]:
    return Column(Text(collation="C"), primary_key=primary_key, nullable=nullable)


class ClientRow(SQLModel, table=True):
    """An OAuth client (RFC 6749 Section 2; SMART App Launch, "Registering a SMART App")."""

    __tablename__ = "client"

    id: str = Field(sa_column=_text(primary_key=True))
    kind: str = Field(sa_column=_text())
    """``public``, ``jwks`` (private_key_jwt) or ``secret``."""
    scope: str = Field(sa_column=_text())
    """All that it may ever ask for."""
    organization: str = Field(sa_column=_text())
    """Id of the Organization that it acts for."""
    redirect_uris: list[str] = Field(
        sa_column=Column(ARRAY(Text(collation="C")), nullable=False), default_factory=list
    )
    jwks: str | None = Field(default=None, sa_column=_text(nullable=True))
    """Its public keys, a JSON Web Key Set (RFC 7517 Section 5)."""
    secret: str | None = Field(default=None, sa_column=_text(nullable=True))
    """Derived from its secret, as `passwords` does; the secret itself is not kept."""
    created: int = Field(sa_column=Column(BigInteger, nullable=False))


class LoginRow(SQLModel, table=True):
    """A local login of a person in a role at an organisation."""

    __tablename__ = "login"

    login: str = Field(sa_column=_text(primary_key=True))
    password: str = Field(sa_column=_text())
    """As `passwords` derives it."""
    practitioner_role: str = Field(sa_column=_text())
    """Id of the PractitionerRole."""
    organization: str = Field(sa_column=_text())
    """Id of the Organization that the PractitionerRole names."""
    role: str = Field(sa_column=_text())
    """A key of `roles.ROLES`."""
    created: int = Field(sa_column=Column(BigInteger, nullable=False))
