"""The registry of clients: those that act for the administrator's own organisation.

RFC 6749 Section 2; SMART App Launch 2.2, "Registering a SMART App". A secret is shown once, on the
answer to the form that made it, and is nowhere afterwards.
"""

from typing import Final, get_args

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
            one.kind,
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
        made = _client(visit, visit.field("id"))
        secret = await registry.register(desk.database, made)
    except Refusal as refusal:
        body = _form(visit, None, visit.fields)
        return Page("Register a client", body, refusal.reason, 400)
    await desk.note(visit, f"client {made.id}", detail="client registered")
    return _done(made.id, "Registered", secret)


async def shows(desk: Desk, visit: Visit) -> Answer:
    """Show one client, and what may be done with it."""
    client = await _own(desk, visit)
    return Page(f"Client {client.id}", _manage(visit, client, _fields(client)))


async def changes(desk: Desk, visit: Visit) -> Answer:
    """Change it, give it a new secret, or remove it."""
    client = await _own(desk, visit)
    wish = visit.field("do")
    try:
        if wish == "rotate":
            secret: str | None = await registry.rotate(desk.database, client.id)
            done = "client secret changed"
        elif wish == "remove":
            if visit.field("sure") != "yes":
                body = _manage(visit, client, _fields(client))
                told = "Tick the box to say that it is to be removed."
                return Page(f"Client {client.id}", body, told, 400)
            await registry.remove(desk.database, client.id)
            await desk.note(visit, f"client {client.id}", detail="client removed")
            return Onward(ADDRESS)
        else:
            secret = await registry.change(desk.database, _client(visit, client.id))
            done = "client changed"
    except Refusal as refusal:
        body = _manage(visit, client, visit.fields)
        return Page(f"Client {client.id}", body, refusal.reason, 400)
    await desk.note(visit, f"client {client.id}", detail=done)
    return _done(client.id, "Changed", secret)


async def _own(desk: Desk, visit: Visit) -> Client:
    """Give a client of the visitor's organisation; of another's it is not told that it is there."""
    client = await clients.find(desk.database, visit.place["id"])
    if client.organization != visit.user.organization:
        raise NotFound(f"no client is registered as {client.id}")
    return client


def _client(visit: Visit, id: str) -> Client:
    """Make a client of what a form says; it acts for the organisation of who fills it in."""
    kind: Kind = next((each for each in get_args(Kind) if each == visit.field("kind")), "public")
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
    )


def _fields(client: Client) -> dict[str, str]:
    return {
        "id": client.id,
        "kind": client.kind,
        "scope": client.scope,
        "redirects": "\n".join(client.redirect_uris),
        "jwks": client.jwks or "",
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
        markup.element("p", "What people have let it do ends. Its own tokens end in five minutes."),
        markup.form(
            address,
            visit.token,
            Markup('<p><input type="checkbox" id="sure" name="sure" value="yes">'),
            Markup('<label class="beside" for="sure">Yes, remove this client</label></p>'),
            markup.button("Remove", "do", "remove", class_="other"),
        ),
    )
    return joined(
        _form(visit, client, fields), rotating if client.kind == "secret" else "", removing
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
