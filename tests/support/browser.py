"""A headless Chromium for the tests of the report: no network, every complaint recorded."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DRAWING_MS = 120_000  # two slow cores, shared, draw 500 curves in 10 s


@dataclass
class Visit:
    """An open page, and what went wrong on it."""

    page: Page
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def wait_until_drawn(self) -> None:
        self.page.wait_for_selector("body[data-drawn=all]", timeout=DRAWING_MS)


def chromium_path() -> str:
    """Return Chromium's path, or skip the test; in CI there is no excuse."""
    named = os.environ.get("JWQLSCAN_TEST_CHROMIUM")
    names = [named] if named else ["chromium", "chromium-browser", "google-chrome"]
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None and os.environ.get("CI"):
        pytest.fail("no Chromium: apt-get install chromium")
    if path is None:
        pytest.skip("apt-get install chromium")
    return path


@contextmanager
def running_browser() -> Iterator[Browser]:
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(
    browser: Browser,
    path: Path,
    width: int = 1400,
    height: int = 900,
    scheme: str = "light",
    now: datetime | None = None,
) -> Iterator[Visit]:
    """Open a file; on leaving, nothing may have been asked of the network, nothing complained.

    With `now` the page's clock reads that, and goes on as `page.clock` is told to.
    """
    page = browser.new_page(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    record = Visit(page)
    if now is not None:
        page.clock.install(time=now)

    def on_request(url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            record.requests.append(url)

    page.route("http*://**", lambda route: route.abort())
    page.on("request", lambda request: on_request(request.url))
    page.on("websocket", lambda socket: record.requests.append(socket.url))
    page.on("pageerror", lambda error: record.problems.append(str(error)))
    page.on("dialog", lambda dialog: (record.problems.append("a dialog"), dialog.dismiss()))
    page.on(
        "console",
        lambda message: (
            record.problems.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    page.goto(path.as_uri())
    yield record
    page.wait_for_timeout(100)
    page.close()
    assert record.problems == []
    assert record.requests == []


def colours(element: Locator) -> set[tuple[int, ...]]:
    """Return the colours an element is seen in."""
    with Image.open(io.BytesIO(element.screenshot())) as image:
        found = image.convert("RGB").getcolors(maxcolors=1 << 24)
    return {colour for _, colour in found}


def has_colour(element: Locator, hexadecimal: str) -> bool:
    wanted = bytes.fromhex(hexadecimal.removeprefix("#"))
    return tuple(wanted) in colours(element)
