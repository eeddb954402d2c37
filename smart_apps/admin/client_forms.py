"""The forms about a client: what it is like, and what may be done with it.

RFC 7591 Section 2 (what a client is registered with).
"""

from collections.abc import Mapping
from typing import Final, get_args

from resources.content import written_instant
from smart_apps.admin import markup
from smart_apps.admin.desk import Page, Visit
from smart_apps.admin.markup import Markup, joined, link
from smart_apps.clients import Client, Kind

ADDRESS: Final = "/admin/clients"
NEW: Final = "/admin/register"

KINDS: Final = {
    "public": "It can keep no secret: a browser or mobile app (PKCE alone)",
    "secret": "It has a secret: a web application with a server",
    "jwks": "It has a key: a system, or an application with a key (private_key_jwt)",
}
assert set(KINDS) == set(get_args(Kind))

DISABLING: Final = (
    "It can do nothing until it is enabled: no token is given to it, and those that it has end"
    " within a second."
)
ENABLING: Final = "Enabled, it asks for new tokens, and people for their consent anew."


def fields_of(client: Client) -> dict[str, str]:
    """Give what a form about a client is filled in with."""
    return {
        "id": client.id,
        "kind": client.kind,
        "scope": client.scope,
        "redirects": "\n".join(client.redirect_uris),
        "jwks": client.jwks or "",
        "jwks_uri": client.jwks_uri or "",
        "launch": client.launch_url or "",
    }


def asking(visit: Visit, client: Client | None, given: Mapping[str, str]) -> Markup:
    """Ask what a client is like: a new one if it is None."""
    named = markup.field(
        "Client id", "id", given.get("id", ""), hint="Letters, digits, dots, hyphens, underscores.",
        required=True, maxlength=64, autocomplete="off",
    )  # fmt: skip
    return markup.form(
        NEW if client is None else f"{ADDRESS}/{client.id}",
        visit.token,
        named if client is None else "",
        markup.choice("Kind", "kind", KINDS, given.get("kind", "public")),
        markup.area(
            "May ask for", "scope", given.get("scope", ""), required=True,
            hint="All the scopes it may ever ask for, with spaces between.",
        ),
        markup.area(
            "Redirect URIs", "redirects", given.get("redirects", ""),
            hint="One a line; compared letter by letter.",
        ),
        markup.field(
            "Launch URL", "launch", given.get("launch", ""), kind="url",
            hint="Where an EHR launch of it begins, if it can be launched.",
        ),
        markup.area(
            "Public keys", "jwks", given.get("jwks", ""),
            hint="A JSON Web Key Set, for a client that has a key.",
        ),
        markup.field(
            "Or where it publishes them", "jwks_uri", given.get("jwks_uri", ""), kind="url",
            hint="The address of its JSON Web Key Set, read again and again.",
        ),
        markup.button("Register" if client is None else "Change", "do", "change"),
    )  # fmt: skip


def managing(visit: Visit, client: Client, given: Mapping[str, str]) -> Markup:
    """Offer all that may be done with a client."""
    address = f"{ADDRESS}/{client.id}"
    rotating = joined(
        markup.element("h2", "New secret"),
        markup.element("p", "The old one is worth nothing as soon as there is a new one."),
        markup.form(address, visit.token, markup.button("Make a new secret", "do", "rotate")),
    )
    removing = joined(
        markup.element("h2", "Remove"),
        markup.element("p", "What people have let it do ends, and so do its own tokens."),
        markup.form(
            address,
            visit.token,
            Markup('<p><input type="checkbox" id="sure" name="sure" value="yes">'),
            Markup('<label class="beside" for="sure">Yes, remove this client</label></p>'),
            markup.button("Remove", "do", "remove", class_="other"),
        ),
    )
    return joined(
        asking(visit, client, given),
        rotating if client.kind == "secret" else "",
        _disabling(visit, client),
        removing,
    )


def _disabling(visit: Visit, client: Client) -> Markup:
    """Offer to disable it, or to enable it again."""
    title, wish, said = "Disable", "disable", DISABLING
    if client.disabled is not None:
        since = written_instant(client.disabled).replace("T", " ")[:16]
        title, wish, said = "Enable", "enable", f"It is disabled since {since} UTC. {ENABLING}"
    return joined(
        markup.element("h2", title),
        markup.element("p", said),
        markup.form(
            f"{ADDRESS}/{client.id}", visit.token, markup.button(title, "do", wish, class_="other")
        ),
    )


def done(id: str, what: str, secret: str | None) -> Page:
    """Say what was done with a client, and its secret, if it has a new one."""
    back = markup.element("p", link(ADDRESS, "To all clients"))
    if secret is None:
        return Page(f"{what}: {id}", back)
    once = markup.element(
        "div",
        joined(
            markup.element("p", "Its secret, shown this once:"),
            markup.element("p", secret, class_="code", id="secret"),
        ),
        class_="once",
    )
    return Page(f"{what}: {id}", joined(once, back))
