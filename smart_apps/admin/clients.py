"""The registry of clients: those that act for the administrator's own organisation.

RFC 6749 Section 2; SMART App Launch 2.2, "Registering a SMART App". A secret is shown once, on the
answer to the form that made it, and is nowhere afterwards.
"""

from typing import Final, get_args

from fhir_server.postgres.database import Transaction
from resources.content import written_instant
from resources.errors import NotFound, Refusal
from smart_apps import clients, registry
from smart_apps.admin import markup
from smart_apps.admin.desk import ADMINISTRATOR, Answer, Desk, Onward, Page, Place, Visit
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

DONE: Final = {
    "change": "client changed",
    "rotate": "client secret changed",
    "disable": "client disabled",
    "enable": "client enabled",
    "remove": "client removed",
}
"""What a form may wish, and how the ledger has it."""

DISABLING: Final = (
    "It can do nothing until it is enabled: no token is given to it, and those that it has end"
    " within a second."
)
ENABLING: Final = "Enabled, it asks for new tokens, and people for their consent anew."


async def listed(desk: Desk, visit: Visit) -> Answer:
    """List the clients of the organisation."""
    found = [
        one
        for one in await clients.every(desk.database)
        if one.organization == visit.user.organization
    ]
    rows = [
        (
            link(f"{ADDRESS}/{one.id}", one.id),
            one.kind if one.disabled is None else f"{one.kind}, disabled",
            one.scope,
            joined(*(markup.element("div", uri) for uri in one.redirect_uris)),
        )
        for one in found
    ]
    body = joined(
        markup.element("p", link(NEW, "Register a client")),
        markup.table(
            "Clients that act for your organisation",
            ("Client", "Kind", "May ask for", "Redirect URIs"),
            rows,
        ),
    )
    return Page("Clients", body)


async def asks(desk: Desk, visit: Visit) -> Answer:
    """Ask what a new client is like."""
    return Page("Register a client", _form(visit, None, visit.fields))


async def registers(desk: Desk, visit: Visit) -> Answer:
    """Register it, or say why not."""
    try:
        made = _client(desk, visit, visit.field("id"))
        async with desk.change(visit, f"client {made.id}", "client registered") as change:
            secret = await registry.register(change, made)
    except Refusal as refusal:
        body = _form(visit, None, visit.fields)
        return Page("Register a client", body, refusal.reason, 400)
    return _done(made.id, "Registered", secret)


async def shows(desk: Desk, visit: Visit) -> Answer:
    """Show one client, and what may be done with it."""
    client = await _own(desk, visit)
    return Page(f"Client {client.id}", _manage(visit, client, _fields(client)))


async def changes(desk: Desk, visit: Visit) -> Answer:
    """Change it, give it a new secret, disable or enable it, or remove it."""
    client = await _own(desk, visit)
    wish = visit.field("do")
    if wish not in DONE:
        wish = "change"
    if wish == "remove" and visit.field("sure") != "yes":
        body = _manage(visit, client, _fields(client))
        told = "Tick the box to say that it is to be removed."
        return Page(f"Client {client.id}", body, told, 400)
    try:
        async with desk.change(visit, f"client {client.id}", DONE[wish]) as change:
            secret = await _do(wish, change, client, desk, visit)
    except Refusal as refusal:
        fields = visit.fields if wish == "change" else _fields(client)
        body = _manage(visit, client, fields)
        return Page(f"Client {client.id}", body, refusal.reason, 400)
    return Onward(ADDRESS) if wish == "remove" else _done(client.id, "Changed", secret)


async def _do(
    wish: str, change: Transaction, client: Client, desk: Desk, visit: Visit
) -> str | None:
    """Do what a form wishes, a key of `DONE`; give the new secret, if there is one."""
    if wish == "rotate":
        return await registry.rotate(change, client.id)
    if wish == "change":
        return await registry.change(change, _client(desk, visit, client.id))
    only = {"disable": registry.disable, "enable": registry.enable, "remove": registry.remove}
    await only[wish](change, client.id)
    return None


async def _own(desk: Desk, visit: Visit) -> Client:
    """Give a client of the visitor's organisation; of another's it is not told that it is there."""
    client = await clients.find(desk.database, visit.place["id"])
    if client.organization != visit.user.organization:
        raise NotFound(f"no client is registered as {client.id}")
    return client


def _client(desk: Desk, visit: Visit, id: str) -> Client:
    """Make a client of what a form says; it acts for the organisation of who fills it in."""
    kind: Kind = next((each for each in get_args(Kind) if each == visit.field("kind")), "public")
    address = visit.field("jwks_uri") if kind == "jwks" else ""
    if address:
        desk.key_sets.check(address, visit.user.organization)
    return Client(
        id=id,
        kind=kind,
        scope=" ".join(visit.field("scope").split()),
        organization=visit.user.organization,
        redirect_uris=tuple(visit.field("redirects").split()),
        jwks=visit.field("jwks") or None if kind == "jwks" else None,
        # Where there shall be a secret, the registry makes it; until then something stands there.
        secret="" if kind == "secret" else None,
        launch_url=visit.field("launch") or None,
        jwks_uri=address or None,
    )


def _fields(client: Client) -> dict[str, str]:
    return {
        "id": client.id,
        "kind": client.kind,
        "scope": client.scope,
        "redirects": "\n".join(client.redirect_uris),
        "jwks": client.jwks or "",
        "jwks_uri": client.jwks_uri or "",
        "launch": client.launch_url or "",
    }


def _form(visit: Visit, client: Client | None, fields: object) -> Markup:
    given = {str(k): str(v) for k, v in dict(fields).items()}  # type: ignore[call-overload]
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


def _manage(visit: Visit, client: Client, fields: object) -> Markup:
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
        _form(visit, client, fields),
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


def _done(id: str, what: str, secret: str | None) -> Answer:
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


PLACES: Final = (
    Place(ADDRESS, "Clients", frozenset({ADMINISTRATOR}), listed),
    Place(NEW, "", frozenset({ADMINISTRATOR}), asks, registers),
    Place(f"{ADDRESS}/{{id}}", "", frozenset({ADMINISTRATOR}), shows, changes),
)
