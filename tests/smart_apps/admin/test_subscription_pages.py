"""The page of an organisation's subscriptions: shown and acted on by its administrator alone."""

import asyncio
from typing import Any

import pytest

from fhir_server.core import Core
from subscriptions.addresses import Addresses
from subscriptions.channels.resthook import RestHook
from subscriptions.delivery import Delivery
from subscriptions.matcher import Matcher
from tests.smart_apps.admin.conftest import Office, send, subscribe
from tests.smart_apps.authorization.browser import Forms
from tests.subscriptions.receiving import Receiver, receiving, until

pytestmark = pytest.mark.requirement("R010.1")

ADDRESS = "/admin/subscriptions"

READY: dict[str, Any] = {
    "resourceType": "Task",
    "status": "ready",
    "intent": "order",
    "for": {"reference": "Patient/p1"},
    "owner": {"reference": "Organization/lead"},
    "requester": {"reference": "Organization/lead"},
}


def status(office: Office, id: str) -> str:
    rows = office.run(
        lambda core: core.database.run("select status from subscription where id = $1", (id,))
    )
    return str(rows[0][0])


def test_it_is_seen_how_a_subscription_is_and_not_what_it_says(office: Office) -> None:
    boss = office.browser("boss")
    pages = boss.get(ADDRESS).text + boss.get(f"{ADDRESS}/app").text

    assert "Rest-hook, hooks.example" in pages
    assert "Client/app" in pages
    assert "Task?status=ready&amp;patient=…" in pages
    assert "a-secret" not in pages
    assert "Patient/p1" not in pages


def test_of_another_organisation_nothing_is_seen_and_nothing_is_done(office: Office) -> None:
    far = office.browser("far")
    listed = far.get(ADDRESS)
    token = Forms(listed.text).found[0]["fields"]["token"]

    assert "/app" not in listed.text
    assert far.get(f"{ADDRESS}/app").status_code == 404
    for wish in (
        {"do": "stop", "sure": "yes"},
        {"do": "activate"},
        {"do": "resend", "number": "1"},
    ):
        answer = far.post(f"{ADDRESS}/app", data={"token": token, **wish})
        assert answer.status_code == 404
    assert status(office, "app") == "requested"


@pytest.mark.parametrize("login", ["eye", "safe"])
def test_who_is_no_administrator_does_nothing(office: Office, login: str) -> None:
    browser = office.browser(login)
    token = Forms(browser.get("/admin").text).found[0]["fields"]["token"]

    answer = browser.post(f"{ADDRESS}/app", data={"token": token, "do": "stop", "sure": "yes"})

    assert answer.status_code == 403
    assert status(office, "app") == "requested"


def test_a_stop_is_confirmed_and_nothing_begins_again_from_there(office: Office) -> None:
    boss = office.browser("boss")
    office.run(lambda core: subscribe(core, "https://hooks.example/x", "stopped"))
    page = boss.get(f"{ADDRESS}/stopped")

    unsure = send(boss, page, {"do": "stop"})
    assert (unsure.status_code, status(office, "stopped")) == (400, "requested")
    sure = send(boss, page, {"do": "stop", "sure": "yes"})
    assert (sure.status_code, status(office, "stopped")) == (303, "off")

    again = send(boss, page, {"do": "activate"})
    assert again.status_code == 400
    assert "not in error" in again.text
    assert status(office, "stopped") == "off"
    assert "<button" not in boss.get(f"{ADDRESS}/stopped").text.split("<h1>")[1]
    assert ("PractitionerRole/boss-administrator", 0, "subscription stopped") in done(office)
    assert "stopped" not in boss.get(f"{ADDRESS}?status=active").text
    assert "stopped" in boss.get(f"{ADDRESS}?status=off").text


def done(office: Office) -> list[tuple[Any, ...]]:
    sql = "select subject, outcome, detail from audit where type = 'Subscription'"
    return [tuple(row) for row in office.run(lambda core: core.database.run(sql))]


@pytest.mark.standard("Subscriptions R5 Backport 1.1.0, Error Handling")
def test_a_hook_that_fails_is_seen_and_when_it_is_mended_the_rest_is_sent(office: Office) -> None:
    boss = office.browser("boss")

    async def story(core: Core) -> list[str]:
        async with receiving() as hook:
            sender = {"rest-hook": RestHook(Addresses("127.0.0.0/8"))}
            delivery = Delivery(
                core.database, core.store, sender, base_url=office.base, retries=(0.0, 0.05)
            )
            running = asyncio.create_task(delivery.run())
            try:
                return await mended(core, hook)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    async def mended(core: Core, hook: Receiver) -> list[str]:
        await subscribe(core, hook.url, "failing")
        await becomes(core, "active")
        hook.answers = lambda request: 500
        await office.write(core, READY)
        await office.write(core, READY)
        await Matcher(core.database, office.base).catch_up()
        await becomes(core, "error")
        hook.requests.clear()
        hook.answers = lambda request: 200
        address = f"{ADDRESS}/failing"
        failed = await asyncio.to_thread(boss.get, address)
        await asyncio.to_thread(send, boss, failed, {"do": "activate"}, 1)
        await until(lambda: len(hook.taken) >= 2)
        await becomes(core, "active", waiting=0)
        well = await asyncio.to_thread(boss.get, address)
        wrong = await asyncio.to_thread(send, boss, well, {"do": "resend", "number": "9"}, 1)
        assert wrong.status_code == 400
        again = await asyncio.to_thread(send, boss, well, {"do": "resend", "number": "2"}, 1)
        assert again.status_code == 303
        await until(lambda: len(hook.taken) >= 3)
        return [failed.text, well.text]

    async def becomes(core: Core, status: str, waiting: int | None = None) -> None:
        sql = "select status, events - delivered from subscription where id = 'failing'"
        async with asyncio.timeout(30):
            while True:
                ((found, rest),) = await core.database.run(sql)
                if found == status and waiting in (None, rest):
                    return
                await asyncio.sleep(0.02)

    failed, well = office.run(story)

    assert "The endpoint answered 500" in failed
    assert "<dt>Events waiting</dt><dd>2</dd>" in failed
    assert "<dt>Attempts that failed</dt><dd>2</dd>" in failed
    assert "<dt>Events waiting</dt><dd>0</dd>" in well
    subjects = {subject for subject, _, what in done(office) if what and "again" in what}
    assert subjects == {"PractitionerRole/boss-administrator"}
