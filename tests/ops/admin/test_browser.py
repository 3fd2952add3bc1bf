"""The status page in a real Chromium: no error, buttons that work, new numbers without a reload, both colour schemes.

Driven over the DevTools protocol, through a pipe; needs Debian's package `chromium`.
"""

import asyncio
import base64
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from relay.support import GET, House

from ocr_tcp_lb.config import TcpAddress
from ops.house import watched

pytestmark = [pytest.mark.browser, pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP rebound.example 127.0.0.1",
    "about:blank",
]
PATIENCE_S = 30
BETWEEN_PAGES = "Inspected target navigated or closed"  # what Chromium then answers


class BetweenPages(Exception):
    """The page that was asked has just made room for the next one."""


class Browser:
    """Commands go to descriptor 3 of Chromium, answers and events come from its descriptor 4, each ended by NUL."""

    def __init__(self, reader: asyncio.StreamReader, writer: int) -> None:
        self._reader = reader
        self._writer = writer
        self._number = 0
        self._session = ""
        self.complaints: list[str] = []  # what the page wrote to the console, and exceptions

    async def open_tab(self) -> None:
        target = await self.do("Target.createTarget", url="about:blank")
        session = await self.do("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = session["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.do(f"{domain}.enable")

    async def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._writer, json.dumps(command).encode() + b"\0")
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
                if message.get("id") == self._number:
                    if message.get("error", {}).get("message") == BETWEEN_PAGES:
                        raise BetweenPages(message)
                    assert "error" not in message, message
                    result: dict[str, Any] = message["result"]
                    return result
                if message.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                    self.complaints.append(json.dumps(message["params"]))

    async def value(self, expression: str) -> Any:
        result = await self.do("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Ask again and again, of the page that there is by then."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self._has_come(expression):  # noqa: ASYNC110 (the page has no event for it)
                await asyncio.sleep(0.02)

    async def _has_come(self, expression: str) -> bool:
        try:
            return bool(await self.value(expression))
        except BetweenPages:
            return False

    async def visit(self, url: str) -> None:
        await self.do("Page.navigate", url=url)
        await self.until(f"document.readyState == 'complete' && location.href == {json.dumps(url)}")

    async def look(self) -> bytes:
        return base64.b64decode((await self.do("Page.captureScreenshot", format="png"))["data"])


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Browser]:
    to_chromium, commands = os.pipe()
    answers, from_chromium = os.pipe()
    shift = f'exec "$0" "$@" 3<&{to_chromium} 4>&{from_chromium}'
    process = subprocess.Popen(
        ["bash", "-c", shift, "chromium", f"--user-data-dir={profile}", *FLAGS],
        pass_fds=(to_chromium, from_chromium),
        stderr=subprocess.DEVNULL,
    )
    os.close(to_chromium)
    os.close(from_chromium)
    reader = asyncio.StreamReader(limit=1 << 26)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(answers, "rb")
    )
    browser = Browser(reader, commands)
    try:
        await browser.open_tab()
        yield browser
    finally:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            browser._session = ""
            await browser.do("Browser.close")
        os.close(commands)
        transport.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def test_page_lives_in_a_real_browser(house: House, tmp_path: Path) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend, house.backend()])
    async with watched(lb) as admin, chromium(tmp_path / "profile") as browser:
        assert isinstance(admin.address, TcpAddress)
        url = f"http://127.0.0.1:{admin.address.port}/"
        await browser.visit(url)
        assert await browser.value("document.querySelectorAll('.fleet tbody tr').length") == 2
        await browser.value("document.querySelectorAll('form button')[1].click()")
        await browser.until("document.querySelectorAll('.fleet tbody tr')[1].innerText.includes('draining')")
        assert lb.hub.fleet.backends[1].is_draining
        client = await lb.client()
        await client.send(GET)
        await client.read_message()
        await browser.until("document.querySelector('.fleet td[data-label=Requests]').innerText == '1'")
        for width, scheme in ((1280, "light"), (390, "dark")):
            await browser.do(
                "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
            )
            await browser.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            assert await browser.value("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"
            assert len(await browser.look()) > 10_000
        assert browser.complaints == []


async def test_page_of_another_origin_controls_nothing(house: House, tmp_path: Path) -> None:
    """`localhost` and 127.0.0.1 are two origins: one page attacks the other's balancer."""
    lb = house.balancer([house.backend()])
    async with (
        watched(lb) as admin,
        watched(house.balancer([house.backend()])) as foreign,
        chromium(tmp_path) as browser,
    ):
        assert isinstance(admin.address, TcpAddress)
        assert isinstance(foreign.address, TcpAddress)
        await browser.visit(f"http://localhost:{foreign.address.port}/healthz")
        target = f"http://127.0.0.1:{admin.address.port}/control/backends/b1/drain"
        await browser.value(f"fetch({target!r}, {{method: 'POST', mode: 'no-cors'}}).catch(() => 0)")
        await browser.value(
            f"(() => {{ const form = document.createElement('form'); form.method = 'post'; form.action = {target!r};"
            " document.body.append(form); form.submit(); })()"
        )
        await browser.until("document.body.innerText.includes('cross_site')")
        assert not lb.hub.fleet.backends[0].is_draining


async def test_page_works_without_script(house: House, tmp_path: Path) -> None:
    lb = house.balancer([house.backend()])
    async with watched(lb) as admin, chromium(tmp_path) as browser:
        assert isinstance(admin.address, TcpAddress)
        await browser.do("Emulation.setScriptExecutionDisabled", value=True)
        await browser.visit(f"http://127.0.0.1:{admin.address.port}/")
        await browser.value("document.querySelector('form button').click()")
        await browser.until("document.querySelector('.fleet tbody tr')?.innerText.includes('Put back')")
        assert lb.hub.fleet.backends[0].is_draining
        assert await browser.value("location.pathname") == "/"


async def test_name_that_dns_rebinds_to_us_shows_nothing_and_controls_nothing(house: House, tmp_path: Path) -> None:
    lb = house.balancer([house.backend()])
    async with watched(lb) as admin, chromium(tmp_path) as browser:
        assert isinstance(admin.address, TcpAddress)
        await browser.visit(f"http://rebound.example:{admin.address.port}/")
        assert await browser.value("document.body.innerText.includes('wrong_host')")
        asked = "fetch('/control/backends/b1/drain', {method: 'POST'}).then(reply => reply.status)"
        assert await browser.value(asked) == 421
        assert not lb.hub.fleet.backends[0].is_draining
