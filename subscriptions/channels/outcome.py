"""What became of something that was sent, in words that no channel owns."""

from typing import Final, Literal, NamedTuple

Verdict = Literal["sent", "later", "failed", "over"]
"""It was taken; it may be taken later; it is refused and will be; nobody wants it any more."""


class Outcome(NamedTuple):
    """What became of one notification.

    Parameters
    ----------
    status
        How the receiver answered, as HTTP would say it; 0 where there was no answer.
    reason
        A sentence for the subscriber; nothing that the receiver said.
    wait
        Seconds after which the receiver asked to come back, at the earliest.
    """

    verdict: Verdict
    status: int
    reason: str = ""
    wait: float = 0.0


SENT: Final = Outcome("sent", 200)


class Message(NamedTuple):
    """What is to be sent.

    Parameters
    ----------
    body
        Octets; none where only the fact is told.
    media
        What they are.
    resource
        ``Type/id`` where it is that resource, and not a notification.
    events
        How many are told in it.
    """

    body: bytes
    media: str
    resource: str = ""
    events: int = 0
