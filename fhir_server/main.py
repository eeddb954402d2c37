"""The composition root: settings in, one wired application out.

What a lower layer needs from an upper one is handed over here and in the two tables beside it,
and nowhere else: rules and consequences to the store (`core`), duties to the worker (`duties`),
routes to the HTTP application.
"""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from dicom_bridge.counting import Counting
from dicom_bridge.dicomweb import router as dicomweb
from dicom_bridge.dicomweb import ups_subscribers
from dicom_bridge.dimse import scp
from dicom_bridge.prefetch.work import Prefetch
from fhir_server import health, jobs, notifying, own_parameters, scraping
from fhir_server.access.limits import Limits
from fhir_server.access.token import Keys, TokenChecker
from fhir_server.access.withdrawn import Withdrawn
from fhir_server.audit import anchor, syslog
from fhir_server.audit.syslog import Receiver
from fhir_server.core import Core, key_addresses_of, opened, repeats_of
from fhir_server.identities import Identities
from fhir_server.logs import Access
from fhir_server.metrics import Meter
from fhir_server.patience import PatientProtocol, PatientServer, prepare
from fhir_server.rest import router
from fhir_server.rest.door import ROOT
from fhir_server.seat import Seat, share
from fhir_server.settings import Settings
from fhir_server.traffic import Traffic
from resources import priors
from smart_apps import pages
from smart_apps.admin.routes import Admin
from smart_apps.authorization.key_sets import KeySets
from smart_apps.authorization.routes import OPENID_CONFIGURATION, SMART_CONFIGURATION
from smart_apps.authorization.routes import routes as authorization_routes
from smart_apps.authorization.server import SmartServer
from smart_apps.authorization.signing_in import SignInDesk
from smart_apps.authorization.tokens import Issuer
from smart_apps.authorization.upstream import Upstream
from smart_apps.decision_support import routes as decision_support
from smart_apps.decision_support.routes import DecisionSupport
from smart_apps.origins import CrossOrigin, Origins
from subscriptions import withdrawals
from subscriptions.channels import websocket
from subscriptions.delivery import Count
from subscriptions.matcher import Matcher
from subscriptions.subscriptions import Subscriptions

KEEP_ALIVE_SECONDS: Final = 75
GRACE_SECONDS: Final = 4
"""How long requests under way may take to finish when the process is asked to stop."""

SWITCH_SECONDS: Final = 0.0005
"""How long a thread of the dicom role may compute while others wait to."""

COLLECTED_AFTER: Final = (20_000, 20, 50)
"""Objects of a request end with it, without the collector: it need look for cycles less often."""

ENDINGS: Final = (signal.SIGTERM, signal.SIGINT)

CONTENT_SECURITY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def build_http(
    core: Core,
    keys: Keys,
    ready: Callable[[], None] = lambda: None,
    count: Count = lambda what, status, seconds: None,
) -> tuple[FastAPI, Mapping[str, ASGIApp]]:
    """Make the HTTP application, and give its services by the roots of their addresses too.

    Parameters
    ----------
    ready
        Called when it can answer.
    count
        Counts what is sent to sockets.
    """
    settings = core.settings

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        await core.database.open()
        # Tables and compiled definitions live as long as the process: the collector need not
        # walk them again, which would hold up everybody for tens of milliseconds.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECTED_AFTER)
        await own_parameters.load(core.database)
        following = asyncio.create_task(withdrawn.follow(core.database.url))
        heeding = asyncio.create_task(own_parameters.heed(core.database))
        telling = asyncio.create_task(sockets.follow())
        ready()
        yield
        telling.cancel()
        following.cancel()
        heeding.cancel()
        await core.bridge.quiet.drained()
        await core.bridge.crew.close()
        await core.database.close()

    # A redirect that mends a path would be built from the Host header, which a caller chooses.
    application = FastAPI(
        title="Isocentre",
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    withdrawn = Withdrawn()
    limits = Limits(settings.rate_requests, settings.rate_lookups, settings.rate_tokens)
    checker = TokenChecker(keys, settings.url, withdrawn, limits)
    fhir = router.routes(
        core.store,
        checker,
        core.ledger,
        core.exports,
        Subscriptions(core.database, core.store, settings.fhir_base),
        base_url=settings.fhir_base,
        body_limit=settings.max_body_bytes,
        repeats=repeats_of(settings),
    )
    advice = DecisionSupport(
        core.store, checker, core.ledger, repeats_of(settings), settings.fhir_base
    ).routes()
    web = dicomweb.routes(
        core.bridge, checker, base_url=settings.url, body_limit=settings.max_stow_bytes
    )
    issuer = Issuer(keys, settings.url)
    key_sets = KeySets(key_addresses_of(settings))
    https = settings.url.startswith("https:")
    authorization = authorization_routes(
        SmartServer(core.database, issuer, checker, key_sets),
        core.store,
        core.ledger,
        Upstream(core.database, settings) if settings.oidc_issuer else None,
        registration=settings.registration == "approved",
    )
    admin = Admin(
        core.database, core.store, core.ledger, settings.fhir_base, key_sets, secure=https
    )
    application.router.routes += [
        *authorization,
        *fhir,
        *web,
        *advice,
        *admin.routes(),
        *health.routes(core.database),
        scraping.route(settings.data_dir, settings.metrics_token.get_secret_value()),
        Route("/audit/heads", _heads(settings.data_dir)),
        Route("/", _start_page(settings)),
    ]
    auth = Router(authorization, redirect_slashes=False)
    # Both FHIR routes end at one door, which reads the address by itself.
    services: dict[str, ASGIApp] = {
        ROOT: fhir[0].app,
        "/auth": auth,
        SMART_CONFIGURATION: auth,
        OPENID_CONFIGURATION: auth,
        dicomweb.ROOT: Router(web, redirect_slashes=False),
        decision_support.ROOT: Router(advice, redirect_slashes=False),
    }
    origins = Origins(core.database)
    sockets = notifying.sockets(core, withdrawn, origins.include, count)
    shared: dict[str, ASGIApp] = {at: CrossOrigin(each, origins) for at, each in services.items()}
    told = ups_subscribers.Notifications(core.bridge, checker)
    steps = f"{dicomweb.ROOT}{ups_subscribers.PATH}/"
    return application, {**shared, f"{ROOT}{websocket.PATH}": sockets, steps: told}


def http(settings: Settings, database_url: str, seat: Seat) -> None:
    """Answer HTTP until the process is told to stop."""
    core = Core.of(settings, database_url)
    access = Access("http")
    meter = Meter(settings.data_dir, "http", seat.number)
    keys = Keys.load(settings.data_dir)
    application, services = build_http(core, keys, seat.ready, meter.count)
    https = settings.url.startswith("https:")
    config = uvicorn.Config(
        Traffic(application, meter, access, services=services, https=https),
        loop="uvloop",
        http=PatientProtocol,
        ws="websockets-sansio",
        ws_max_size=websocket.LONGEST,
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # uvicorn raises the signal that stopped it once more when it is done; what comes after it,
    # such as stopping the database, shall still happen.
    for each in ENDINGS:
        signal.signal(each, lambda number, frame: None)
    try:
        PatientServer(config).run(sockets=[prepare(share(settings.http_address))])
    finally:
        access.flush()


def dicom(settings: Settings, database_url: str, seat: Seat) -> None:
    """Answer DIMSE until the process is told to stop."""
    # What computes (DICOM JSON) lets those who are being served go first after half a millisecond.
    sys.setswitchinterval(SWITCH_SECONDS)

    async def run() -> None:
        meter = Meter(settings.data_dir, "dicom", seat.number)
        address, secure = settings.dicom_address, settings.dicom_tls_address
        async with opened(settings, database_url) as core:
            core.bridge.counting = Counting(meter.count)
            heeding = asyncio.create_task(own_parameters.heed(core.database))
            withdrawn = Withdrawn()
            following = asyncio.create_task(withdrawn.follow(core.database.url))
            checker = TokenChecker(Keys.load(settings.data_dir), settings.url, withdrawn)
            desk = SignInDesk(core.database, core.ledger)
            core.bridge.identify = Identities(desk, checker, withdrawn).identify
            gc.collect()
            gc.freeze()
            await _until_told(
                scp.run_dicom(
                    core.bridge,
                    address.host,
                    address.port,
                    anywhere=settings.dicom_plain,
                    secure=scp.Port(*secure) if secure else None,
                    ready=lambda port: seat.ready(),
                )
            )
            following.cancel()
            heeding.cancel()

    uvloop.run(run())


def worker(settings: Settings, database_url: str, seat: Seat) -> None:
    """Do what is due by the clock until the process is told to stop.

    What makes reports for DICOM workstations takes 80 MB that the other roles need not have.
    """
    from fhir_server import duties

    async def run() -> None:
        meter = Meter(settings.data_dir, "worker", seat.number)
        async with opened(settings, database_url) as core:
            due = duties.of(core)
            building = partial(duties.build_own_parameters, core)
            feeding = asyncio.create_task(_feed(core))
            heeding = asyncio.create_task(own_parameters.heed(core.database, building))
            matching = asyncio.create_task(Matcher(core.database, settings.fhir_base).run())
            delivering = asyncio.create_task(notifying.delivery(core, meter.count).run())
            withdrawing = asyncio.create_task(withdrawals.heed(core.database, core.store))
            rules = priors.read(Path(settings.priors)) if settings.priors else priors.DEFAULT
            ahead = asyncio.create_task(Prefetch(core.bridge, settings.fhir_base, rules).run())
            await jobs.work(jobs.application(database_url, due), due, seat.ready)
            ahead.cancel()
            withdrawing.cancel()
            matching.cancel()
            delivering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await delivering
            heeding.cancel()
            feeding.cancel()

    uvloop.run(run())


async def _feed(core: Core) -> None:
    """Send the ledger to the syslog receiver, if one is named."""
    if core.settings.syslog:
        receiver = Receiver.read(core.settings.syslog)
        await syslog.follow(core.database, receiver, core.settings.syslog_ca or None)


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Do something until it ends, or SIGTERM or SIGINT says that it shall."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for each in ENDINGS:
        loop.add_signal_handler(each, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _heads(data_dir: Path) -> Callable[[Request], Response]:
    """Give the signed heads of the audit chain to whoever wants to keep them."""

    def answer(request: Request) -> Response:
        text = "".join(f"{head}\n" for head in anchor.kept(anchor.path(data_dir)))
        return Response(text, media_type="text/plain", headers={"cache-control": "no-cache"})

    return answer


def _start_page(settings: Settings) -> Callable[[Request], Awaitable[Response]]:
    places = {
        "fhir": settings.fhir_base,
        "dicomweb": f"{settings.url}/dicom-web",
        "dicom_host": settings.dicom_address.host,
        "dicom_port": settings.dicom_address.port,
        "ae_title": settings.ae_title,
        "data_dir": settings.data_dir,
    }
    page = pages.start(places)
    headers = {"content-security-policy": CONTENT_SECURITY, "cache-control": "no-cache"}

    async def answer(request: Request) -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)

    return answer
