"""Table: interaction -> what kind of AuditEvent it leaves.

Every interaction that a `RequestContext` may name has a row here.

References
----------
* FHIR AuditEvent.type: audit-event-type and DICOM PS3.16 CID 400; subtype: restful-interaction
* IHE BALP: RESTful activities are of type ``rest``; queries have action E
* DICOM PS3.15 Section A.5.3 for the DICOM events
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from resources import codes


class Code(NamedTuple):
    """A Coding: system, code, display."""

    system: str
    code: str
    display: str


class Event(NamedTuple):
    """One row: the AuditEvent of an interaction.

    `action` is a code of AuditEvent.action: C create, R read, U update, D delete, E execute.
    `asker_is_source` says whether the one who asks is the source, of data (a create) or of a query;
    in a read the server is.
    """

    interaction: str
    type: Code
    subtype: Code | None
    action: str
    asker_is_source: bool


def _rest(interaction: str, code: str = "") -> tuple[Code, Code]:
    return REST, Code(codes.RESTFUL_INTERACTION, code or interaction, code or interaction)


REST: Final = Code(codes.AUDIT_EVENT_TYPE, "rest", "RESTful Operation")
ACTIVITY: Final = Code(codes.DCM, "110100", "Application Activity")
LOG_USED: Final = Code(codes.DCM, "110101", "Audit Log Used")
ACCESSED: Final = Code(codes.DCM, "110103", "DICOM Instances Accessed")
TRANSFERRED: Final = Code(codes.DCM, "110104", "DICOM Instances Transferred")
EXPORT: Final = Code(codes.DCM, "110106", "Export")
IMPORT: Final = Code(codes.DCM, "110107", "Import")
PROCEDURE: Final = Code(codes.DCM, "110111", "Procedure Record")
QUERY: Final = Code(codes.DCM, "110112", "Query")
ALERT: Final = Code(codes.DCM, "110113", "Security Alert")
AUTHENTICATION: Final = Code(codes.DCM, "110114", "User Authentication")
START: Final = Code(codes.DCM, "110120", "Application Start")
STOP: Final = Code(codes.DCM, "110121", "Application Stop")
NODE: Final = Code(codes.DCM, "110126", "Node Authentication")
SECURITY: Final = Code(codes.DCM, "110129", "Security Configuration")
PERSON: Final = Code(codes.DCM, "110137", "User Security Attributes Changed")
LOGIN: Final = Code(codes.DCM, "110122", "Login")
LOGOUT: Final = Code(codes.DCM, "110123", "Logout")

_ROWS: Final = (
    #     interaction             type, subtype                    action asker is source
    Event("read",             *_rest("read"),                      "R", False),
    Event("vread",            *_rest("vread"),                     "R", False),
    Event("history-instance", *_rest("history-instance"),          "R", False),
    Event("history-type",     *_rest("history-type"),              "R", False),
    Event("history-system",   *_rest("history-system"),            "R", False),
    Event("search-type",      *_rest("search-type"),               "E", True),
    Event("search-system",    *_rest("search-system"),             "E", True),
    Event("capabilities",     *_rest("capabilities"),              "R", False),
    Event("create",           *_rest("create"),                    "C", True),
    Event("update",           *_rest("update"),                    "U", True),
    Event("patch",            *_rest("patch"),                     "U", True),
    Event("delete",           *_rest("delete"),                    "D", True),
    Event("batch",            *_rest("batch"),                     "E", True),
    Event("transaction",      *_rest("transaction"),               "E", True),
    Event("operation",        *_rest("operation"),                 "E", True),
    Event("C-STORE",          TRANSFERRED, None,                   "C", True),
    Event("STOW-RS",          TRANSFERRED, None,                   "C", True),
    Event("import",           IMPORT,      None,                   "C", True),
    Event("settle",           TRANSFERRED, None,                   "U", True),
    Event("C-FIND",           QUERY,       None,                   "E", True),
    Event("MWL C-FIND",       QUERY,       None,                   "E", True),
    Event("QIDO-RS",          QUERY,       None,                   "E", True),
    Event("C-GET",            TRANSFERRED, None,                   "R", False),
    Event("C-MOVE",           TRANSFERRED, None,                   "R", False),
    Event("prefetch",         TRANSFERRED, None,                   "R", False),
    Event("MPPS",             PROCEDURE,   None,                   "U", True),
    Event("UPS",              PROCEDURE,   None,                   "U", True),
    Event("UPS C-FIND",       QUERY,       None,                   "E", True),
    Event("GPWL",             PROCEDURE,   None,                   "U", True),
    Event("GPWL C-FIND",      QUERY,       None,                   "E", True),
    Event("UPS-RS",           PROCEDURE,   None,                   "U", True),
    Event("storage-commitment", ACTIVITY,  None,                   "E", True),
    Event("WADO-RS",          ACCESSED,    None,                   "R", False),
    Event("export",           EXPORT,      None,                   "R", False),
    Event("notification",     EXPORT,      None,                   "R", False),
    Event("C-ECHO",           ACTIVITY,    None,                   "E", True),
    Event("association",      ALERT,       NODE,                   "E", True),
    Event("audit-log",        LOG_USED,    None,                   "R", False),
    Event("login",            AUTHENTICATION, LOGIN,               "E", True),
    Event("logout",           AUTHENTICATION, LOGOUT,              "E", True),
    Event("configuration",    ALERT,       SECURITY,               "E", True),
    Event("user-configuration", ALERT,     PERSON,                 "E", True),
    Event("alert",            ALERT,       None,                   "E", True),
    Event("start",            ACTIVITY,    START,                  "E", True),
    Event("stop",             ACTIVITY,    STOP,                   "E", True),
    Event("job",              ACTIVITY,    None,                   "E", True),
    Event("demo",             ACTIVITY,    None,                   "E", True),
)  # fmt: skip

EVENTS: Final[Mapping[str, Event]] = {row.interaction: row for row in _ROWS}
OTHER: Final = Event("other", ACTIVITY, None, "E", True)
"""What an interaction without a row looks like, so that the ledger can always be read."""

DONE: Final[Mapping[str, str]] = {"R": "read", "C": "create", "U": "update", "D": "delete"}
"""What was done to a resource -> how its audit row names that, if several share a request."""

SEVERAL: Final = frozenset({"batch", "transaction", "operation", "job", "demo"})
"""Interactions that write any number of resources, each audited as what was done to it."""


def event(interaction: str) -> Event:
    """The row of an interaction."""
    return EVENTS.get(interaction, OTHER)
