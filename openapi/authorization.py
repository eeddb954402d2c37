"""The authorisation server: the endpoints that applications ask.

RFC 6749, RFC 7009, RFC 7662; SMART App Launch 2.2. The pages that people see are no interface.
"""

from typing import Any, Final

from openapi.document import Json, answers, body, framed

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
TEXT: Final[Json] = {"type": "string"}
ERROR: Final[Json] = {
    "type": "object",
    "properties": {"error": TEXT, "error_description": TEXT},
    "required": ["error"],
}
CLIENT: Final[dict[str, Json]] = {
    "client_id": TEXT,
    "client_secret": TEXT,
    "client_assertion_type": TEXT,
    "client_assertion": TEXT,
}
TOKEN: Final[Json] = {
    "type": "object",
    "properties": {
        "access_token": TEXT,
        "token_type": {"const": "Bearer"},
        "expires_in": {"type": "integer"},
        "scope": TEXT,
        "refresh_token": TEXT,
        "id_token": TEXT,
        "patient": TEXT,
    },
    "required": ["access_token", "token_type", "expires_in", "scope"],
}
OBJECT: Final[Json] = {"type": "object"}

ASKED: Final[dict[str, tuple[str, str, dict[str, Json], Json]]] = {
    "/auth/token": (
        "Swap a code, a refresh token or an assertion for an access token",
        FORM,
        CLIENT
        | {
            "grant_type": {"enum": ["authorization_code", "refresh_token", "client_credentials"]},
            "code": TEXT,
            "redirect_uri": TEXT,
            "code_verifier": TEXT,
            "refresh_token": TEXT,
            "scope": TEXT,
        },
        TOKEN,
    ),
    "/auth/introspect": (
        "Say what a token is worth",
        FORM,
        CLIENT | {"token": TEXT, "token_type_hint": TEXT},
        {"type": "object", "properties": {"active": {"type": "boolean"}}, "required": ["active"]},
    ),
    "/auth/revoke": (
        "Give a token back",
        FORM,
        CLIENT | {"token": TEXT, "token_type_hint": TEXT},
        OBJECT,
    ),
    "/auth/launch": (
        "Keep the context in which an app is about to be opened",
        JSON,
        {"client": TEXT, "patient": TEXT, "encounter": TEXT, "fhirContext": {"type": "array"}},
        {"type": "object", "properties": {"launch": TEXT, "url": TEXT}},
    ),
}
"""Address -> what it does, media type and members of what it takes, schema of what it answers."""

PUBLIC: Final = {
    "/auth/jwks": "The keys that tokens are signed with",
    "/fhir/.well-known/smart-configuration": "Discovery, as SMART has it",
    "/.well-known/openid-configuration": "Discovery, as OpenID Connect has it",
}


def document() -> Json:
    """Write the document."""
    paths: dict[str, Json] = {address: {"post": _asked(address)} for address in ASKED}
    for address, title in PUBLIC.items():
        paths[address] = {
            "get": {
                "operationId": f"get {address}",
                "summary": title,
                "security": [],
                "responses": answers(JSON, OBJECT, {"200": title}, (JSON, ERROR)),
            }
        }
    return framed(
        "Isocentre: authorisation server",
        "SMART App Launch 2.2. Authorisation requests of people begin at /auth/authorize.",
        "/",
        paths,
    )


def _asked(address: str) -> Json:
    title, media, members, schema = ASKED[address]
    written: dict[str, Any] = {
        "operationId": f"post {address}",
        "summary": title,
        "requestBody": body(media, {"type": "object", "properties": members}),
        "responses": answers(JSON, schema, {"200": "Done"}, (JSON, ERROR)),
    }
    if address != "/auth/launch":
        written["security"] = []
    return written
