"""The system's Chromium, driven by Playwright; it talks to nobody but the server under test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser; the test is skipped where there is none, except under CI."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            raise AssertionError("Chromium is missing, and under CI nothing is skipped")
        raise SkipTest("Chromium is missing: install Debian's package chromium for this test")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page(browser: Browser, origin: str, **options: Any) -> Iterator[Page]:
    """A page that fails the test on a script error, a dialog, or a request to another origin."""
    context = browser.new_context(**options)
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
