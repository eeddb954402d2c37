"""E-mail: a message that says that there is something new, and where to look; never about whom.

A mailbox is read on telephones and forwarded to others. So a person reads how many events there
were and which subscription it is; what they were about is behind a login. Who asks for the payload
``text/plain;attach=application/fhir+json`` is sent the notification as an attachment too, with the
level of content that the subscription has (which is never the resources, for this channel).

References
----------
* HL7 Subscriptions R5 Backport 1.1.0, "Email"; RFC 3207 (STARTTLS); RFC 6068 (mailto)
"""

import asyncio
import re
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

import aiosmtplib

from subscriptions.channels.outcome import SENT, Message, Outcome
from subscriptions.events import Subscriber

ATTACHED: Final = "attach="
"""In a payload type: also send the notification itself, as this type."""

_MAILBOX: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}")


class Server(NamedTuple):
    """The mail server that takes what we send.

    Parameters
    ----------
    tls
        ``starttls``: plain until STARTTLS, which must work; ``tls``: from the beginning;
        ``none``: never, for a server on this machine.
    sender
        The address that messages come from.
    """

    host: str
    port: int
    tls: Literal["starttls", "tls", "none"]
    sender: str
    user: str = ""
    password: str = ""


class Email:
    """The channel.

    Parameters
    ----------
    server
        None where there is none: nothing can be sent then.
    base_url
        Our FHIR base, for the link in a message.
    """

    def __init__(
        self, server: Server | None, base_url: str, *, trust: ssl.SSLContext | None = None
    ) -> None:
        self._server = server
        self._base_url = base_url
        self._tls = trust or ssl.create_default_context()

    async def send(self, subscriber: Subscriber, message: Message) -> Outcome:
        """Hand a message to the mail server, and say what became of it; nothing is raised."""
        if self._server is None:
            return Outcome("failed", 0, "This server has no mail server.")
        to = mailbox(subscriber.endpoint)
        if to is None:
            return Outcome("failed", 0, "The endpoint is no mailbox.")
        try:
            async with asyncio.timeout(subscriber.timeout):
                await self._hand_over(self._server, _letter(
                    self._server.sender, to, subscriber, message, self._base_url))  # fmt: skip
        except TimeoutError:
            return Outcome("later", 0, f"The mail server took more than {subscriber.timeout} s.")
        except aiosmtplib.SMTPRecipientsRefused as refused:
            code = max((each.code for each in refused.recipients), default=0)
            return _judged(code)
        except aiosmtplib.SMTPResponseException as refused:
            return _judged(refused.code)
        except (aiosmtplib.SMTPException, OSError, ValueError):
            return Outcome("later", 0, "The mail server cannot be reached.")
        return SENT

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _hand_over(self, server: Server, letter: EmailMessage) -> None:
        await aiosmtplib.send(
            letter,
            hostname=server.host,
            port=server.port,
            use_tls=server.tls == "tls",
            start_tls=server.tls == "starttls",
            tls_context=None if server.tls == "none" else self._tls,
            username=server.user or None,
            password=server.password or None,
            timeout=None,
        )


def mailbox(endpoint: str) -> str | None:
    """Give the one mailbox of a ``mailto:`` URL, or None.

    Examples
    --------
    >>> mailbox("mailto:duty@ward.example"), mailbox("mailto:a@b.example?subject=x")
    ('duty@ward.example', None)
    >>> mailbox("mailto:a@b.example%0d%0aBcc:c@d.example")
    """
    parts = urlsplit(endpoint)
    named = unquote(parts.path)
    is_plain = parts.scheme == "mailto" and not parts.query and not parts.fragment
    return named if is_plain and _MAILBOX.fullmatch(named) else None


def _judged(code: int) -> Outcome:
    """RFC 5321 Section 4.2.1: 4yz may be tried again, 5yz should not be."""
    if 500 <= code < 600:
        return Outcome("failed", 403, f"The mail server answered {code}.")
    return Outcome("later", 503, f"The mail server answered {code}.")


def _letter(
    sender: str, to: str, subscriber: Subscriber, message: Message, base_url: str
) -> EmailMessage:
    letter = EmailMessage()
    name = subscriber.topic.rpartition("/")[2] or subscriber.type
    letter["From"], letter["To"] = sender, to
    letter["Subject"] = f"Imaging record: {name if name.isprintable() else 'news'}"
    letter["Date"] = formatdate(usegmt=True)
    letter["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or None)
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(_text(subscriber, message, base_url))
    _, attached, media = subscriber.payload_type.partition(ATTACHED)
    if attached and message.body:
        main, _, sub = media.partition("/")
        letter.add_attachment(
            message.body, maintype=main, subtype=sub or "json", filename="notification.json"
        )
    return letter


def _text(subscriber: Subscriber, message: Message, base_url: str) -> str:
    """Write what a person reads."""
    here = f"{base_url}/Subscription/{subscriber.id}"
    if not message.events:
        return f"The subscription {here}\nis in order. There is nothing new.\n"
    what = "1 event" if message.events == 1 else f"{message.events} events"
    return (
        f"There is something new in the imaging record: {what} of the subscription\n{here}\n\n"
        "Sign in to see what it is. This message says nothing about any patient.\n"
    )
