"""A real browser: Chromium without a window, driven over the DevTools protocol."""

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_SECONDS = 30.0


class Tab:
    """One page in the browser.

    Attributes
    ----------
    console
        What its scripts wrote or failed with.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.console: list[str] = []

    async def listen(self) -> None:
        """Take what the browser says, until it is closed."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                waiting = self._waiting.pop(said["id"])
                if not waiting.done():
                    waiting.set_result(said)
            elif said["method"] in {"Runtime.exceptionThrown", "Runtime.consoleAPICalled"}:
                self.console.append(json.dumps(said["params"])[:2000])

    async def call(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        answer = await asyncio.wait_for(self._waiting[number], PATIENCE_SECONDS)
        assert "error" not in answer, answer
        return answer["result"]

    async def goto(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression on the page."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true; pages that are being left do not count."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            try:
                if await self.run(f"Boolean({condition})"):
                    return
            except AssertionError:
                pass
            assert asyncio.get_running_loop().time() < deadline, (
                condition,
                await self.run("document.location.href + ' ' + document.body.innerText"),
                self.console,
            )
            await asyncio.sleep(0.05)

    async def fill(self, selector: str, text: str) -> None:
        await self.until(f"document.querySelector({json.dumps(selector)})")
        await self.run(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}")

    async def click(self, selector: str) -> None:
        await self.until(f"document.querySelector({json.dumps(selector)})")
        await self.run(f"document.querySelector({json.dumps(selector)}).click()")

    async def screenshot(self, path: Path) -> None:
        taken = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(taken["data"]))


@asynccontextmanager
async def browsing() -> AsyncIterator[Tab]:
    """A browser with nothing in it, and one tab."""
    assert CHROMIUM is not None
    profile = Path(tempfile.mkdtemp(prefix="isocentre-chromium-"))
    arguments = [
        "--headless=new", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    if os.geteuid() == 0:
        arguments.insert(0, "--no-sandbox")
    process = subprocess.Popen(
        [CHROMIUM, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        address = await _address(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{address}/json/list") as answer:
                pages = [each for each in await answer.json() if each["type"] == "page"]
            url = pages[0]["webSocketDebuggerUrl"]
            async with session.ws_connect(url, max_msg_size=64 << 20) as socket:
                tab = Tab(socket)
                listening = asyncio.create_task(tab.listen())
                for domain in ("Page", "Runtime"):
                    await tab.call(f"{domain}.enable")
                yield tab
                listening.cancel()
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(profile, ignore_errors=True)


async def _address(path: Path) -> str:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not path.exists() or not path.read_text().strip():
        assert asyncio.get_running_loop().time() < deadline, "the browser did not start"
        await asyncio.sleep(0.05)
    return f"127.0.0.1:{path.read_text().splitlines()[0]}"
