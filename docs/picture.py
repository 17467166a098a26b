"""Makes `docs/picture.png`, the README's picture, from the running demo: `make picture`."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent


def started(output: Path) -> str:
    """The URL that the demo says it runs at."""
    for _ in range(300):
        if found := re.search(r"IntegralGit runs at (\S+) and", output.read_text()):
            return found[1]
        time.sleep(0.1)
    raise SystemExit("the demo did not start")


def main() -> None:
    """Run the demo in a folder that is thrown away, and take the picture while it deploys."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "output")
        with output.open("wb") as out:
            demo = subprocess.Popen(
                [sys.executable, "-m", "integralgit.demo"], cwd=folder, stdout=out, stderr=out
            )
        try:
            url = started(output)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox"]
                )
                page = browser.new_page(viewport={"width": 1100, "height": 660})
                page.goto(f"{url}/localhost/demo/site/deploys/1")
                page.get_by_text("step 4 of 10").wait_for()
                page.screenshot(path=HERE / "picture.png")
                browser.close()
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(30)


if __name__ == "__main__":
    main()
