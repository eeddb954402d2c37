"""Settings: what an operator has chosen, read from the environment once.

What there is to choose is the table in `options`; a command's options win over the environment.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError, field_validator

from fhir_server import address
from fhir_server.address import Address as Address
from fhir_server.options import PREFIX, Options
from resources import acknowledgement, priors
from resources.errors import Invalid


class Settings(Options):
    """What an operator has chosen, and what follows from it."""

    @field_validator("http", "dicom")
    @classmethod
    def _has_host_and_port(cls, value: str) -> str:
        address.read(value)
        return value

    @field_validator("smtp", "dicom_tls")
    @classmethod
    def _has_host_and_port_or_nothing(cls, value: str) -> str:
        if value:
            address.read(value)
        return value

    @property
    def smtp_address(self) -> Address | None:
        """Where the mail server is, if there is one."""
        return address.read(self.smtp) if self.smtp else None

    @property
    def dicom_tls_address(self) -> Address | None:
        """Where the DICOM port that speaks TLS is opened, if it is."""
        return address.read(self.dicom_tls) if self.dicom_tls else None

    @property
    def dicom_tls_files(self) -> tuple[Path, Path, Path] | None:
        """Our certificate, its key and the authorities of our peers, if all are named.

        Raises
        ------
        Invalid
            Some are named and others are not, or a port needs them.
        """
        named = (self.dicom_tls_certificate, self.dicom_tls_key, self.dicom_tls_authorities)
        if all(named):
            return Path(named[0]), Path(named[1]), Path(named[2])
        if any(named) or self.dicom_tls:
            raise Invalid(
                "DICOM over TLS needs ISOCENTRE_DICOM_TLS_CERTIFICATE, ISOCENTRE_DICOM_TLS_KEY and "
                "ISOCENTRE_DICOM_TLS_AUTHORITIES."
            )
        return None

    @property
    def retries(self) -> tuple[float, ...]:
        """Seconds before each attempt at a notification."""
        return tuple(float(each) for each in self.subscription_retries.split(","))

    @field_validator("acknowledgement")
    @classmethod
    def _has_deadlines(cls, value: str) -> str:
        if value:
            try:
                acknowledgement.read(Path(value))
            except Invalid as error:
                raise ValueError(str(error)) from error
        return value

    @field_validator("priors")
    @classmethod
    def _has_rules(cls, value: str) -> str:
        if value:
            try:
                priors.read(Path(value))
            except Invalid as error:
                raise ValueError(str(error)) from error
        return value

    @property
    def http_address(self) -> Address:
        """Where the HTTP port is opened."""
        return address.read(self.http)

    @property
    def dicom_address(self) -> Address:
        """Where the DICOM port is opened."""
        return address.read(self.dicom)

    @property
    def url(self) -> str:
        """Where clients reach the HTTP side."""
        return self.public_url or f"http://{self.http_address}"

    @property
    def fhir_base(self) -> str:
        """The FHIR base, without a slash at its end."""
        return f"{self.url}/fhir"

    @property
    def profiles_bind(self) -> bool:
        """Whether a resource that breaks a profile it claims is refused."""
        return "strict" in (self.validation, self.rules)

    @property
    def blob_folder(self) -> Path:
        """The folder where pixels are kept, or those of a bucket that are at hand."""
        is_folder = self.blob_url and not self.blob_url.startswith("s3:")
        return Path(self.blob_url) if is_folder else self.data_dir.resolve() / "blobs"


def read(**options: Any) -> Settings:
    """Read the environment; options that are not None win over it.

    Raises
    ------
    Invalid
        A value that no setting takes. The reason names the variable, never its value.
    """
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"])
        raise Invalid(f"{PREFIX}{name.upper()}: {first['msg']}.") from error


def environment(settings: Settings) -> dict[str, str]:
    """Give the environment in which `read` reads the same settings."""
    values = settings.model_dump(mode="json")
    for name in type(settings).model_fields:
        if isinstance(secret := getattr(settings, name), SecretStr):
            values[name] = secret.get_secret_value()
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in values.items()}


def variables() -> Iterator[tuple[str, str, str]]:
    """Give name, default and description of every environment variable."""
    for name, field in Settings.model_fields.items():
        yield f"{PREFIX}{name.upper()}", str(field.default), field.description or ""


def manual() -> str:
    """Give the table of `docs/settings.md`."""
    rows = "".join(
        f"| `{name}` | {f'`{default}`' if default else ''} | {description} |\n"
        for name, default, description in variables()
    )
    return (
        "# Settings\n\nRead once, when a command starts. Options of a command win.\n\n"
        f"| variable | default | what it says |\n|---|---|---|\n{rows}"
    )
