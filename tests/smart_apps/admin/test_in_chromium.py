"""The pages in a real browser: nothing is blocked, and nothing is wider than the window."""

import asyncio

import pytest

from tests.chromium import CHROMIUM, Tab, browsing
from tests.smart_apps.admin.conftest import Office, emergency
from tests.smart_apps.admin.test_admin_pages import SEEN
from tests.smart_apps.authorization.conftest import PASSWORD

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]

STYLED = "getComputedStyle(document.querySelector('.brand')).borderBottomWidth"


async def open_page(tab: Tab, office: Office, address: str) -> None:
    """Go there; what the browser blocks on the way is counted from the start."""
    await tab.run("window.isHere = true")
    await tab.goto(f"{office.url}{address}")
    await tab.until(f"!window.isHere && document.readyState == 'complete' && {STYLED} == '4px'")


@pytest.mark.standard("WCAG 2.2 1.4.10")
@pytest.mark.parametrize("login", ["boss", "eye"])
async def test_every_page_fits_a_narrow_window_and_has_its_style(
    office: Office, login: str
) -> None:
    await asyncio.to_thread(office.run, emergency)

    async with browsing() as tab:
        await tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=320, height=640, deviceScaleFactor=1, mobile=True,
        )  # fmt: skip
        await open_page(tab, office, "/admin/sign-in")
        await tab.fill("#login", login)
        await tab.fill("#password", PASSWORD)
        await tab.click("form button")
        await tab.until("location.pathname == '/admin'")
        for address, who in SEEN.items():
            if login not in who or address.endswith(".csv"):
                continue
            await open_page(tab, office, address)
            assert await tab.run("location.pathname") == address
            assert await tab.run("document.documentElement.scrollWidth") <= 320, address
            assert await tab.run("document.scripts.length") == 0

    assert tab.console == []
