"""Table: everything an operator can choose.

Each field is the environment variable ``ISOCENTRE_`` plus its name in capitals. `docs/settings.md`
is made of the descriptions here; what follows from them is in `settings`.
"""

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX: Final = "ISOCENTRE_"

MIB: Final = 1024 * 1024


class Options(BaseSettings):
    """What an operator can choose."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data_dir: Path = Field(
        Path("data"),
        description="Folder of everything the server keeps on this machine: the embedded "
        "database, pixels, keys, `demo.json`.",
    )
    database_url: str = Field(
        "",
        description="PostgreSQL to use, version 15 or later, as libpq takes it: "
        "`postgresql://user@host/name`. Empty: the embedded one in the data folder.",
    )
    database_owner_url: str = Field(
        "",
        description="The same database for the role that owns its tables: as it, the schema is "
        "brought up to date, and the role of `ISOCENTRE_DATABASE_URL` is granted what the server "
        "needs, which does not let it change the audit ledger. Empty: one role does both.",
    )
    blob_url: str = Field(
        "",
        description="Where pixels are kept: a folder, or `s3://bucket/prefix`, whose address and "
        "credentials are the variables `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID` and "
        "`AWS_SECRET_ACCESS_KEY`. Empty: `blobs` in the data folder.",
        pattern=r"^([^:]*|s3://[a-z0-9][a-z0-9.-]*(/[^\s?#]*)?)$",
    )
    blob_room: int = Field(
        50_000_000_000,
        description="With `s3://`: how many bytes stay at hand in `blobs` of the data folder.",
        ge=0,
    )
    scrub_days: int = Field(
        30,
        description="In how many days every stored instance is read and held against its digest; "
        "one that has changed is not served any more. 0: never.",
        ge=0,
    )
    public_url: str = Field(
        "",
        description="Where clients reach the HTTP side, without a slash at the end. It stands in "
        "tokens, links and `Location`. Empty: `http://` and the HTTP address.",
        pattern=r"^(https?://[^\s/]+(/[^\s]*[^\s/])?)?$",
    )
    rules: Literal["house", "base", "strict"] = Field(
        "house",
        description="`house`: references must resolve and versions be named where the house says "
        "so; `base`: plain FHIR R4; `strict`: as house, and claimed profiles are binding.",
    )
    validation: Literal["warn", "strict"] = Field(
        "warn",
        description="What a resource that breaks a profile it claims is: `warn`: stored, and told "
        "as a warning where an OperationOutcome is answered; `strict`: refused. The rules `strict` "
        "mean this too.",
    )
    http: str = Field("127.0.0.1:8000", description="Address of the HTTP port, `host:port`.")
    dicom: str = Field("127.0.0.1:11112", description="Address of the DICOM port, `host:port`.")
    ae_title: str = Field("ISOCENTRE", description="Our AE title.", pattern=r"^[ -\[\]-~]{1,16}$")
    dicom_plain: bool = Field(
        False,
        description="Open the DICOM port beyond this machine although plain DIMSE neither "
        "encrypts nor proves who calls.",
    )
    dicom_tls: str = Field(
        "",
        description="Address of a second DICOM port that speaks TLS, `host:port` (2762 is its "
        "number by custom); other machines may reach it. Empty: none.",
    )
    dicom_tls_certificate: str = Field(
        "",
        description="PEM file of our certificate, with its chain, for DICOM over TLS: for the "
        "port, and for calling peers that are met over TLS.",
    )
    dicom_tls_key: str = Field("", description="PEM file of its private key.")
    dicom_tls_authorities: str = Field(
        "", description="PEM file of the authorities that vouch for the certificates of peers."
    )
    http_workers: int = Field(2, description="Processes that answer HTTP.", ge=1, le=64)
    dicom_workers: int = Field(1, description="Processes that answer DIMSE.", ge=1, le=64)
    database_connections: int = Field(
        10, description="Most database connections one process holds.", ge=2, le=100
    )
    max_body_bytes: int = Field(
        16 * MIB, description="Octets that the body of one FHIR request may have.", ge=1024
    )
    max_stow_bytes: int = Field(
        8192 * MIB, description="Octets that the body of one STOW-RS request may have.", ge=MIB
    )
    rate_requests: int = Field(
        500,
        description="Requests to FHIR and DICOMweb a second that one process answers one client "
        "for one person; after a pause, twenty seconds' worth at once. 0: no limit.",
        ge=0,
    )
    rate_lookups: int = Field(
        60,
        description="Searches a minute by NHS number, name, date of birth or the like that may "
        "find nobody, of one client for one person in one process. 0: no limit.",
        ge=0,
    )
    rate_tokens: int = Field(
        600,
        description="Requests a minute to each address of the authorisation server, from one "
        "client and from one network address, in one process. 0: no limit.",
        ge=0,
    )
    holder: str = Field(
        "",
        description="Id of the Organization that runs this installation: its auditors and "
        "administrators also see in the audit what concerns no organisation, as failed sign-ins "
        "of nobody known, rejected associations of strangers, starts and stops. Empty: only the "
        "system does.",
        pattern=r"^[A-Za-z0-9.\-]{0,64}$",
    )
    missing_images_minutes: int = Field(
        30,
        description="When a modality says by MPPS that it has made images that do not arrive: how "
        "long after it spoke last its organisation is asked by a Task. 0: never.",
        ge=0,
    )
    keep_days: int = Field(
        90,
        description="Days that an organisation's relationship with a patient outlasts the work "
        "that made it.",
        ge=0,
        le=36500,
    )
    addenda: Literal["newest-first", "oldest-first"] = Field(
        "newest-first",
        description="In which order a whole report tells what was added to it: `newest-first`, "
        "ahead of the report; `oldest-first`, after it, with a notice ahead of it. What is "
        "rendered already stays as it is until it is issued anew.",
    )
    repeat_days: int = Field(
        90,
        description="How many days back a study counts when a request is checked for procedures "
        "that were done already. 0: nothing is checked.",
        ge=0,
        le=3650,
    )
    repeats: Literal["reason", "warn"] = Field(
        "reason",
        description="What becomes of a request for a procedure that was done or asked for already: "
        "`reason`, it is placed only if it says why; `warn`, it is placed.",
    )
    informal_hours: int = Field(
        72,
        description="How many hours an organisation may look that is asked for an informal review.",
        ge=1,
        le=2160,
    )
    acknowledgement: str = Field(
        "",
        description="File of deadlines by which reports are acknowledged, in minutes, as "
        "`resources/acknowledgement.json` has them. Empty: that file.",
    )
    priors: str = Field(
        "",
        description="File of rules that say which older studies matter to what is scheduled, as "
        "`resources/priors.json` has them (`resources/priors.README.md`). Empty: that file.",
    )
    subscription_hosts: str = Field(
        "",
        description="Where subscriptions may be sent besides public addresses, by commas: "
        "`host`, `host:port` or a network such as `10.20.0.0/16`, for one organisation as "
        "`id@host`. Only what is listed on this machine may be called without TLS.",
    )
    subscription_public: bool = Field(
        True,
        description="Send subscriptions to any public address. False: only to what "
        "`ISOCENTRE_SUBSCRIPTION_HOSTS` lists.",
    )
    subscription_retries: str = Field(
        "0,5,30,120,600,3600",
        description="Seconds before each attempt at a notification, by commas; after the last one "
        "the subscription is in error.",
        pattern=r"^[0-9]{1,5}(\.[0-9]+)?(,[0-9]{1,5}(\.[0-9]+)?)*$",
    )
    subscription_limit: int = Field(
        5000,
        description="Subscriptions that one organisation may have, those that are off apart.",
        ge=1,
        le=1_000_000,
    )
    socket_limit: int = Field(
        500,
        description="WebSockets that one organisation may have bound in one process.",
        ge=1,
        le=100_000,
    )
    metrics_token: SecretStr = Field(
        SecretStr(""),
        description="What is shown as a bearer token to read `/metrics`. Empty: nothing, and only "
        "this machine itself is answered, not what a proxy here passes on.",
    )
    smtp: str = Field(
        "", description="Mail server for notifications, `host:port`. Empty: no e-mail is sent."
    )
    smtp_tls: Literal["starttls", "tls", "none"] = Field(
        "starttls",
        description="`starttls`: the connection must be secured by STARTTLS; `tls`: from the "
        "beginning; `none`: never, for a mail server on this machine.",
    )
    smtp_sender: str = Field(
        "imaging-record@localhost",
        description="Address that e-mail comes from.",
        pattern=r"^[!-?A-~]+@[!-?A-~]+$",
    )
    smtp_user: str = Field("", description="As whom we sign in to the mail server.")
    smtp_password: SecretStr = Field(SecretStr(""), description="Our password there.")
    jwks_hosts: str = Field(
        "",
        description="Where clients may publish their keys besides public addresses, as "
        "`ISOCENTRE_SUBSCRIPTION_HOSTS` has it.",
    )
    jwks_public: bool = Field(
        True,
        description="Read keys of clients at any public address. False: only at what "
        "`ISOCENTRE_JWKS_HOSTS` lists.",
    )
    registration: Literal["off", "approved"] = Field(
        "off",
        description="`approved`: applications may ask to be registered (RFC 7591), and can do "
        "nothing until an administrator approves it: `isocentre client requests`.",
    )
    oidc_issuer: str = Field(
        "",
        description="Issuer of another OpenID Connect provider where people may sign in. Empty: "
        "only with a local login.",
        pattern=r"^(https?://[^\s]+)?$",
    )
    oidc_client_id: str = Field("", description="As which client we are registered there.")
    oidc_client_secret: SecretStr = Field(SecretStr(""), description="Our secret there.")
    oidc_claim: str = Field(
        "sub", description="The claim of its ID token that is the name of a login here."
    )
    oidc_name: str = Field(
        "your organisation", description="What the sign-in page calls it: `Sign in with ...`."
    )
    syslog: str = Field(
        "",
        description="Where each row of the audit ledger is sent as well, as an IHE ITI-20 message: "
        "`tls://host:6514`, `tcp://host:601` or `udp://host:514`. Empty: nowhere.",
        pattern=r"^((tls|tcp|udp)://[^\s/@]+)?$",
    )
    syslog_ca: str = Field(
        "",
        description="PEM file of the certificates that a TLS syslog receiver is checked with. "
        "Empty: those of the system.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least level of what is logged."
    )
