"""The registry of clients: those that act for the administrator's own organisation.

RFC 6749 Section 2; SMART App Launch 2.2, "Registering a SMART App". A secret is shown once, on the
answer to the form that made it, and is nowhere afterwards.
"""

from typing import Final, get_args

from fhir_server.postgres.database import Transaction
from resources.errors import NotFound, Refusal
from smart_apps import clients, registry
from smart_apps.admin import client_forms, markup
from smart_apps.admin.client_forms import ADDRESS, NEW
from smart_apps.admin.desk import ADMINISTRATOR, Answer, Desk, Onward, Page, Place, Visit
from smart_apps.admin.markup import joined, link
from smart_apps.clients import Client, Kind

DONE: Final = {
    "change": "client changed",
    "rotate": "client secret changed",
    "disable": "client disabled",
    "enable": "client enabled",
    "remove": "client removed",
}
"""What a form may wish, and how the ledger has it."""


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
    return Page("Register a client", client_forms.asking(visit, None, visit.fields))


async def registers(desk: Desk, visit: Visit) -> Answer:
    """Register it, or say why not."""
    try:
        made = _client(desk, visit, visit.field("id"))
        async with desk.change(visit, f"client {made.id}", "client registered") as change:
            secret = await registry.register(change, made)
    except Refusal as refusal:
        body = client_forms.asking(visit, None, visit.fields)
        return Page("Register a client", body, refusal.reason, 400)
    return client_forms.done(made.id, "Registered", secret)


async def shows(desk: Desk, visit: Visit) -> Answer:
    """Show one client, and what may be done with it."""
    client = await _own(desk, visit)
    body = client_forms.managing(visit, client, client_forms.fields_of(client))
    return Page(f"Client {client.id}", body)


async def changes(desk: Desk, visit: Visit) -> Answer:
    """Change it, give it a new secret, disable or enable it, or remove it."""
    client = await _own(desk, visit)
    wish = visit.field("do")
    if wish not in DONE:
        wish = "change"
    if wish == "remove" and visit.field("sure") != "yes":
        body = client_forms.managing(visit, client, client_forms.fields_of(client))
        told = "Tick the box to say that it is to be removed."
        return Page(f"Client {client.id}", body, told, 400)
    try:
        async with desk.change(visit, f"client {client.id}", DONE[wish]) as change:
            secret = await _do(wish, change, client, desk, visit)
    except Refusal as refusal:
        fields = visit.fields if wish == "change" else client_forms.fields_of(client)
        body = client_forms.managing(visit, client, fields)
        return Page(f"Client {client.id}", body, refusal.reason, 400)
    return Onward(ADDRESS) if wish == "remove" else client_forms.done(client.id, "Changed", secret)


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


PLACES: Final = (
    Place(ADDRESS, "Clients", frozenset({ADMINISTRATOR}), listed),
    Place(NEW, "", frozenset({ADMINISTRATOR}), asks, registers),
    Place(f"{ADDRESS}/{{id}}", "", frozenset({ADMINISTRATOR}), shows, changes),
)
