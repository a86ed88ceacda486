"""The README's picture of the page: a frame of the embedded clip, as a headless Chromium shows it.

python -m kinestream.tools.pictures.page --out docs/page.png
"""

import shutil
from pathlib import Path
from typing import Annotated, Final

import typer

from kinestream import Tracker
from kinestream.defaults import ASSETS
from kinestream.tools.extras import optional_module
from kinestream.tools.sinks.web import WebSink

FRAME: Final = 75
WINDOW: Final = {"width": 1280, "height": 620}


def main(out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write (PNG).")]) -> None:
    """Track up to the frame, keep it on the page, and take the picture."""
    playwright = optional_module("playwright.sync_api", extra="test", purpose="a picture of the page")
    with Tracker(ASSETS / "demo.mp4") as tracker, WebSink("0", tracker) as sink:
        pair = next(pair for pair in tracker.frames() if pair[0].index == FRAME)
        with playwright.sync_playwright() as driver:
            arguments = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
            tab = browser.new_page(viewport=WINDOW)
            tab.goto(sink.url)
            for _ in range(60):  # the shape, and a browser that draws in software, take their time
                sink.write(*pair)
                tab.wait_for_timeout(200)
            tab.locator(".mantine-Notification-closeButton").click()
            tab.wait_for_timeout(1000)
            tab.screenshot(path=out)
            browser.close()


if __name__ == "__main__":
    typer.run(main)
