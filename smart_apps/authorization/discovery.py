"""Discovery: what the authorisation server can do, told from the tables that make it so.

SMART App Launch 2.2, "Conformance" (``.well-known/smart-configuration``); OpenID Connect Discovery
1.0 Section 3; Initiating User Registration via OpenID Connect 1.0 Section 4
(``prompt_values_supported``); RFC 8414.
"""

from typing import Any, Final

from smart_apps.authorization import prompts
from smart_apps.authorization.assertion import ALGORITHMS
from smart_apps.authorization.grants import METHODS, S256

CAPABILITIES: Final = (
    "launch-ehr",
    "launch-standalone",
    "authorize-post",
    "client-public",
    "client-confidential-symmetric",
    "client-confidential-asymmetric",
    "sso-openid-connect",
    "context-banner",
    "context-style",
    "context-ehr-patient",
    "context-ehr-encounter",
    "context-standalone-patient",
    "context-standalone-encounter",
    "permission-offline",
    "permission-online",
    "permission-patient",
    "permission-user",
    "permission-v1",
    "permission-v2",
    "smart-imaging-access",
    "http://fhir.org/argonaut/smart-imaging/capabilities/app-launch",
    "http://fhir.org/argonaut/smart-imaging/capabilities/backend-services",
)
"""SMART App Launch 2.2, "Capabilities"; the last three are SMART Imaging Access."""

SCOPES: Final = (
    "openid", "fhirUser", "launch", "launch/patient", "launch/encounter", "launch/imagingstudy",
    "launch/diagnosticreport", "launch/task", "launch/list", "offline_access", "online_access",
    "patient/*.rs", "user/*.cruds", "system/*.cruds",
)  # fmt: skip
"""Examples of what may be asked for; SMART lets a list be incomplete."""

STYLE: Final = {
    "color_background": "#ffffff",
    "color_error": "#d5281b",
    "color_highlight": "#005eb8",
    "color_success": "#007f3b",
    "color_text": "#212b32",
    "dim_border_radius": "4px",
    "dim_font_size": "17px",
    "font_family_body": "system-ui, sans-serif",
    "font_family_heading": "system-ui, sans-serif",
}
"""SMART App Launch 2.2, "Styling"."""


def smart(public_url: str, registration: bool = False) -> dict[str, Any]:
    """Give ``.well-known/smart-configuration``."""
    return _common(public_url, registration) | {
        "scopes_supported": list(SCOPES),
        "capabilities": list(CAPABILITIES),
        "associated_endpoints": [
            {"url": f"{public_url}/dicom-web", "capabilities": ["smart-imaging-access"]}
        ],
    }


def openid(public_url: str, registration: bool = False) -> dict[str, Any]:
    """Give ``/.well-known/openid-configuration``."""
    return _common(public_url, registration) | {
        "scopes_supported": ["openid", "fhirUser"],
        "end_session_endpoint": f"{public_url}/auth/logout",
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "prompt_values_supported": list(prompts.VALUES),
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "claims_parameter_supported": False,
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "fhirUser"],
    }


def _common(public_url: str, registration: bool) -> dict[str, Any]:
    auth = f"{public_url}/auth"
    may_ask = {"registration_endpoint": f"{auth}/register"} if registration else {}
    return may_ask | {
        "issuer": public_url,
        "authorization_endpoint": f"{auth}/authorize",
        "token_endpoint": f"{auth}/token",
        "introspection_endpoint": f"{auth}/introspect",
        "revocation_endpoint": f"{auth}/revoke",
        "jwks_uri": f"{auth}/jwks",
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": list(S256.SUPPORTED_CODE_CHALLENGE_METHOD),
        "token_endpoint_auth_methods_supported": list(METHODS),
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
    }
