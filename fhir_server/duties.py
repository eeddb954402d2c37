"""What the worker does by the clock. A new duty is a function of the core and a row of `DUTIES`."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from dicom_bridge import announced, check, ingest, scrub
from dicom_bridge.reports.making import Making
from fhir_server import own_parameters
from fhir_server.access.token import Keys
from fhir_server.audit import anchor, seal
from fhir_server.context import now
from fhir_server.core import Core, policy_of
from fhir_server.escalation import Escalation
from fhir_server.expiry import Expiry
from fhir_server.export import orders
from fhir_server.jobs import Duty
from fhir_server.receipts import Receipts
from fhir_server.rest.operations import definitions
from fhir_server.store import partitions
from smart_apps.authorization import sweeping
from subscriptions import binding
from subscriptions import sweeping as subscription_sweeping


class Row(NamedTuple):
    """A duty's name, when it is due (crontab(5), UTC), and what it does with the core.

    It answers how many things it found to do.
    """

    name: str
    cron: str
    work: Callable[[Core], Awaitable[int]]


def of(core: Core) -> list[Duty]:
    """List the duties, bound to what they work with."""
    return [Duty(row.name, row.cron, partial(row.work, core)) for row in DUTIES]


async def settle(core: Core) -> int:
    """Settle the studies that were marked by a process that did not get to it."""
    return await ingest.settle_leftovers(core.bridge)


async def make_documents(core: Core) -> int:
    """Make SR and PDF objects of the reports that were issued."""
    return await Making(core.bridge, core.settings.fhir_base).work()


async def look_for_missing(core: Core) -> int:
    """Ask where images are that modalities say they have made."""
    return await announced.look(core.bridge, now(), core.settings.missing_images_minutes)


async def seal_ledger(core: Core) -> int:
    """Chain the newest rows of the audit ledger, and sign the new head."""
    rows = await seal.seal(core.database, now())
    if rows and (head := await seal.head(core.database)):
        data_dir = core.settings.data_dir
        anchor.add(data_dir, Keys.load(data_dir), core.settings.url, head, now())
    return rows


async def sweep_blobs(core: Core) -> int:
    """Remove the bytes that no row speaks of."""
    return await check.sweep(core.database, core.bridge.blobs)


async def scrub_blobs(core: Core) -> int:
    """Read the blobs whose turn it is, and serve no more what has changed."""
    return await scrub.scrub(core.bridge, now() // scrub.MINUTE, core.settings.scrub_days)


async def work_exports(core: Core) -> int:
    """Do the bulk exports that were ordered."""
    return await core.exports.work()


async def sweep_authorizations(core: Core) -> int:
    """Remove codes and tokens that have long expired."""
    await sweeping.sweep(core.database, now())
    return 0


async def make_partitions(core: Core) -> int:
    """Make the partitions of the ledger that will soon be written to."""
    await partitions.ensure(core.database, now())
    return 0


async def take_receipts(core: Core) -> int:
    """Note which reports were delivered and opened, as the ledger tells."""
    return await Receipts(core.database, core.store, core.settings.fhir_base).work()


async def escalate(core: Core) -> int:
    """Ask again, and ask others, where a report is not acknowledged in time."""
    duty = Escalation(core.store, policy_of(core.settings), core.settings.fhir_base)
    return await duty.work(now())


async def expire(core: Core) -> int:
    """Give back to the lead what another organisation has not begun in time."""
    return await Expiry(core.store, core.settings.fhir_base).work(now())


async def build_own_parameters(core: Core) -> int:
    """Publish our definitions, and bring the index of search parameters to where it should be."""
    return await own_parameters.build(
        core.database, core.store, core.settings.fhir_base, definitions.definitions()
    )


async def sweep_events(core: Core) -> int:
    """Forget the events of subscriptions that are old and delivered, and tokens of sockets."""
    await binding.sweep(core.database, now())
    return await subscription_sweeping.sweep(core.database, now())


DUTIES: Final = (
    Row("settle", "* * * * *", settle),
    Row("announced", "* * * * *", look_for_missing),
    Row("report-objects", "* * * * *", make_documents),
    Row("seal", "*/5 * * * *", seal_ledger),
    Row("sweep", "23 * * * *", sweep_blobs),
    Row("scrub", "* * * * *", scrub_blobs),
    Row(orders.DUTY, "* * * * *", work_exports),
    Row("receipts", "* * * * *", take_receipts),
    Row("escalation", "* * * * *", escalate),
    Row("expiry", "* * * * *", expire),
    Row("authorizations", "41 3 * * *", sweep_authorizations),
    Row("subscription-events", "17 4 * * *", sweep_events),
    Row("partitions", "7 2 * * *", make_partitions),
    Row("search-parameters", "*/5 * * * *", build_own_parameters),
)
