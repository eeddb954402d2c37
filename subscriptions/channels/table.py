"""Table: the channels of this server, what each can carry, and who sends by it.

References
----------
* FHIR R4 SubscriptionChannelType; HL7 Subscriptions R5 Backport 1.1.0, "Channels"
"""

from typing import Final, Literal, NamedTuple, Protocol

from subscriptions.channels.outcome import Message, Outcome
from subscriptions.events import Subscriber


class Sender(Protocol):
    """What the worker sends by."""

    async def send(self, subscriber: Subscriber, message: Message) -> Outcome:
        """Send one notification, and say what became of it."""

    async def close(self) -> None:
        """End what is open."""


class Channel(NamedTuple):
    """One channel.

    Parameters
    ----------
    shakes_hands
        It becomes active when its endpoint has answered a handshake; others at once.
    by
        Which role sends: the ``worker``, or the ``http`` process that a socket is open to.
    """

    code: str
    shakes_hands: bool
    by: Literal["worker", "http"]


CHANNELS: Final = {
    channel.code: channel
    for channel in (
        Channel("rest-hook", shakes_hands=True,  by="worker"),
        Channel("email",     shakes_hands=False, by="worker"),
        Channel("websocket", shakes_hands=False, by="http"),
    )
}  # fmt: skip
