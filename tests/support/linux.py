"""This machine's kernel as the judge: network namespaces that are gone afterwards.

Get it from the `linux` fixture, which skips, loudly, without root, iproute2, iptables or conntrack.
Traffic stays inside the namespaces made here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

COMMANDS = ("ip", "iptables", "conntrack")
LINKS_UP_S = 5.0


@cache
def missing() -> str:
    """Why the kernel cannot be asked; empty if it can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "not root"
    absent = [command for command in COMMANDS if shutil.which(command) is None]
    if absent:
        return f"no {', '.join(absent)}"
    done = subprocess.run(["unshare", "-n", "true"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"no namespaces: {done.stderr.strip()}"


class Linux:
    """Makes namespaces called PREFIX-name; `close` deletes them, and with them all that is in them."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._made: list[str] = []

    def namespace(self, name: str) -> str:
        """Make a namespace (lo up); gives its full name, which `run` and `ip ... netns` take."""
        full = f"{self.prefix}-{name}"
        run("ip", "netns", "add", full)
        self._made.append(full)
        self.run(full, "ip", "link", "set", "lo", "up")
        return full

    def run(self, namespace: str, *command: str, stdin: str = "") -> str:
        """Run a command in a namespace; its stdout. Raises AssertionError with its complaint."""
        return run("ip", "netns", "exec", namespace, *command, stdin=stdin)

    def await_links(self, namespaces: Iterable[str]) -> None:
        """Wait until devices that are up run, and ports forward: a worker brings them up, late on a busy machine."""
        until = time.monotonic() + LINKS_UP_S
        for each in namespaces:
            while not links_settled(json.loads(self.run(each, "ip", "-j", "-d", "link", "show"))):
                if time.monotonic() > until:
                    return  # a cable whose other end is down
                time.sleep(0.02)

    @contextmanager
    def program(self, namespace: str, *command: str) -> Iterator[None]:
        """A program in a namespace while the block runs. It prints a line when it is ready."""
        whole = ("ip", "netns", "exec", namespace, *command)
        with subprocess.Popen(whole, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline(), f"{' '.join(whole)} did not begin"
                yield
            finally:
                process.kill()

    def close(self) -> None:
        while self._made:
            run("ip", "netns", "delete", self._made.pop())


def links_settled(links: Iterable[dict[str, Any]]) -> bool:
    """The devices that are up run, and the ports forward, as `ip -j -d link show` has them."""
    for each in links:
        port = each.get("linkinfo", {}).get("info_slave_data", {}).get("state", "forwarding")
        if "UP" in each["flags"] and (each["operstate"] not in ("UP", "UNKNOWN") or port != "forwarding"):
            return False
    return True


def run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout
