"""Notifying: what delivers to subscribers, made of the settings; for the worker and for http."""

from collections.abc import Awaitable, Callable, Mapping

from fhir_server.access.withdrawn import Withdrawn
from fhir_server.core import Core, addresses_of
from fhir_server.settings import Settings
from subscriptions.channels import email
from subscriptions.channels.email import Email
from subscriptions.channels.resthook import RestHook
from subscriptions.channels.table import Sender
from subscriptions.channels.websocket import Sockets
from subscriptions.delivery import Count, Delivery


def delivery(core: Core, count: Count) -> Delivery:
    """Make what the worker sends by."""
    settings = core.settings
    return Delivery(
        core.database,
        core.store,
        senders(settings),
        base_url=settings.fhir_base,
        count=count,
        retries=settings.retries,
    )


def senders(settings: Settings) -> Mapping[str, Sender]:
    """Make the channels that the worker sends by."""
    place = settings.smtp_address
    server = None
    if place is not None:
        server = email.Server(
            place.host,
            place.port,
            settings.smtp_tls,
            settings.smtp_sender,
            settings.smtp_user,
            settings.smtp_password.get_secret_value(),
        )
    return {
        "rest-hook": RestHook(addresses_of(settings)),
        "email": Email(server, settings.fhir_base),
    }


def sockets(
    core: Core, withdrawn: Withdrawn, allows: Callable[[str], Awaitable[bool]], count: Count
) -> Sockets:
    """Make what http processes send by; our own pages may open sockets, and those of clients."""
    settings = core.settings

    async def may(origin: str) -> bool:
        return origin == settings.url or await allows(origin)

    return Sockets(
        core.database,
        core.store,
        withdrawn,
        may,
        base_url=settings.fhir_base,
        count=count,
        most=settings.socket_limit,
    )
