"""The system's Chromium, driven by Playwright; it talks to nobody but the server under test."""

from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest import SkipTest

from playwright.sync_api import Browser, Dialog, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP deploy.test 127.0.0.1",
]


@cache
def chromium() -> Browser:
    """The browser of this process, which ends with it: its start takes as long as many a test.

    The test is skipped where there is none, except under CI.
    """
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            raise AssertionError("Chromium is missing, and under CI nothing is skipped")
        raise SkipTest("Chromium is missing: install Debian's package chromium for this test")
    playwright = sync_playwright().start()
    atexit.register(playwright.stop)
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
    atexit.register(browser.close)
    return browser


@contextmanager
def page(origin: str, **options: Any) -> Iterator[Page]:
    """A page, in a context of its own, that fails the test on a script error, a dialog, or a request to another origin."""
    context = chromium().new_context(**options)
    opened = context.new_page()
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(f"script error: {error}"))

    def dismiss(dialog: Dialog) -> None:
        troubles.append("a dialog")
        dialog.dismiss()

    opened.on("dialog", dismiss)
    opened.on(
        "console",
        lambda said: (
            troubles.append(f"console: {said.text}")
            # A page that asks to sign in is an answer 401, which the browser tells.
            if said.type == "error" and "401 (Unauthorized)" not in said.text
            else None
        ),
    )
    opened.on(
        "request",
        lambda request: (
            None if request.url.startswith(origin) else troubles.append(f"asked {request.url}")
        ),
    )
    try:
        yield opened
    finally:
        context.close()
    assert not troubles, troubles
