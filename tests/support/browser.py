"""A browser as the judge of pages: Debian's chromium, driven by selenium. What it logs and what it requests is asked for.

Get it from the `browser` fixture, which skips (or fails, with EMU_REQUIRE_BROWSER=1) where chromium, its driver or selenium is
missing. axe-core is looked for where `tools/test` puts it. Must not know what pages are about.
"""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

WIDE, SMALL, PHONE = (1440, 900), (1024, 768), (390, 844)
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--force-prefers-reduced-motion",
    "--force-device-scale-factor=1",
)
LIMIT_S = 60  # for what a page does: a busy machine is late
LOGS = {"browser": "ALL", "performance": "ALL"}


def missing() -> str:
    """What there is no browser for, or ""."""
    if find_spec("selenium") is None:
        return "selenium"
    return next((each for each in ("chromium", "chromedriver") if shutil.which(each) is None), "")


def axe() -> Path | None:
    """axe-core, where EMU_AXE names it or `tools/test` has put it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = Path(os.environ.get("EMU_AXE") or cache / "emu" / "axe" / "node_modules" / "axe-core" / "axe.min.js")
    return path if path.is_file() else None


class Browser:
    """One window. `downloads` is the folder that exports go to."""

    def __init__(self, downloads: Path) -> None:
        # selenium is typed in part
        from selenium.webdriver import Chrome
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        options = Options()
        options.binary_location = str(shutil.which("chromium"))
        for flag in FLAGS:
            options.add_argument(flag)
        options.add_argument(f"--user-data-dir={downloads / 'profile'}")
        options.set_capability("goog:loggingPrefs", LOGS)
        # the driver is named, so that selenium looks for none on the internet
        self.driver: Any = Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
        self.driver.set_script_timeout(2 * LIMIT_S)
        self.downloads = downloads
        self.cdp("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        self.size(*WIDE)

    def close(self) -> None:
        self.driver.quit()

    def cdp(self, command: str, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)

    def size(self, width: int, height: int, *, scale: float = 1) -> None:
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def open(self, path: Path, part: str = "") -> None:
        """Open a file anew, at a part of it (without #)."""
        self.driver.get("about:blank")
        self.logs()
        self.driver.get(path.as_uri() + (f"#{part}" if part else ""))

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def count(self, selector: str) -> int:
        return int(self.run("return document.querySelectorAll(arguments[0]).length", selector))

    def click(self, selector: str) -> None:
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def keys(self, *keys: str) -> None:
        """Press keys, as the keyboard does, in what has the focus."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def press(self, key: str, times: int) -> None:
        """Press one key many times."""
        self.driver.switch_to.active_element.send_keys(key * times)

    def wait(self, script: str, limit_s: float = LIMIT_S) -> Any:
        """Wait until a script gives something."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, limit_s, 0.02).until(lambda _driver: self.run(f"return {script}"))

    def logs(self) -> list[str]:
        """What the console got since the last call: errors and warnings."""
        entries = self.driver.get_log("browser")
        return [f"{each['level']} {each['message']}" for each in entries]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                parameters = message["params"]
                found.append(str(parameters.get("url") or parameters["request"]["url"]))
        return found

    def download(self, name: str, limit_s: float = LIMIT_S) -> bytes:
        """A file that an export writes, when it is whole; it is removed."""
        from selenium.webdriver.support.ui import WebDriverWait

        path = self.downloads / name
        WebDriverWait(self.driver, limit_s, 0.02).until(lambda _driver: path.is_file() and path.stat().st_size)
        data = path.read_bytes()
        path.unlink()
        return data

    def picture(self) -> bytes:
        """What the window shows, as PNG."""
        return b64decode(self.cdp("Page.captureScreenshot", format="png")["data"])

    def pdf(self) -> bytes:
        """What is printed."""
        return b64decode(self.cdp("Page.printToPDF", printBackground=True)["data"])

    @contextmanager
    def without_scripts(self) -> Iterator[None]:
        self.cdp("Emulation.setScriptExecutionDisabled", value=True)
        try:
            yield
        finally:
            self.cdp("Emulation.setScriptExecutionDisabled", value=False)

    def violations(self, path: Path, rules: Sequence[str] = RULES) -> list[str]:
        """What axe-core at `path` finds in the page as it is, a line each."""
        # by the debugger: the page's own policy keeps added scripts out
        self.cdp("Runtime.evaluate", expression=path.read_text(encoding="utf-8"))
        found = self.driver.execute_async_script(
            """const [rules, done] = arguments;
            axe.run(document, {runOnly: rules}).then(result => done(result.violations.flatMap(each => each.nodes.map(
                node => `${each.id}: ${node.html.slice(0, 160)} ${(node.any[0] || node.all[0] || node.none[0] || {}).message || ""}`))));""",
            list(rules),
        )
        return [str(each) for each in found]
