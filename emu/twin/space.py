"""Namespaces of this machine's kernel, and commands in them.

A namespace has no name: it exists as long as this process holds its descriptor, so that no error, signal or
`kill -9` leaves one behind. The host's own network is not entered and not changed: a command is a list of
words, and a name from a file is one word with any characters. Must not know what is built in a namespace.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from emu.errors import EmuError, InputError
from emu.twin.iproute import Ip, IpEnded

CLONE_NEWNET = 0x40000000
TOOLS = ("ip", "bridge", "iptables-restore", "iptables-save", "conntrack")
_SELF = "/proc/thread-self/ns/net"
READING, CHANGING = ("-4", "-N"), ("-d",)  # the options of `ip`: most tables need numbers, links need details
# Words that `ip -batch` reads as one word: no blank, quote, backslash or `#`.
_PLAIN = re.compile(r"[\w.:/@,+=%-]+", re.ASCII)
_REFUSED = frozenset(b"/:\0 \t\n\v\f\r\xa0")  # the last one is white space to the kernel's isspace
MAX_NAME = 15  # IFNAMSIZ without its zero byte


class TwinError(EmuError):
    """The kernel's side cannot be built or read: the message names what is missing, or has a tool's output (exit 3)."""

    exit_status = 3


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def missing() -> str:
    """Why this machine's kernel cannot be used; "" if it can."""
    if sys.platform != "linux":
        return f"the twin needs Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return "the twin needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN, to make network namespaces)"
    lost = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lost:
        return f"the twin needs iproute2, iptables and conntrack: there is no {', '.join(lost)} here"
    try:
        Space("probe").close()
    except TwinError as error:
        return str(error)
    if not Path("/proc/sys/net/bridge").exists():
        return "the twin needs the kernel's br_netfilter (modprobe br_netfilter)"
    return ""


class Space:
    """One network namespace, IPv6 off and lo up. Other processes' tools reach it at `path` while it is open."""

    def __init__(self, name: str) -> None:
        self.name = name
        home = os.open(_SELF, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc().unshare(CLONE_NEWNET):
                raise TwinError(f"the kernel makes no network namespace: {os.strerror(ctypes.get_errno())}")
            try:
                self.fd = os.open(_SELF, os.O_RDONLY | os.O_CLOEXEC)
            finally:
                _enter(home)
        finally:
            os.close(home)
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"
        self._running: dict[tuple[str, ...], Ip] = {}  # by options

    @contextmanager
    def inside(self) -> Iterator[None]:
        """While the block runs, this thread is in the namespace. Sockets that are opened there stay there."""
        home = os.open(_SELF, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(self.fd)
            try:
                yield
            finally:
                _enter(home)
        finally:
            os.close(home)

    def run(self, *command: str, text: str = "") -> str:
        """Run a tool in the namespace; gives its output. Raises TwinError with its error message."""
        with self.inside():
            done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            printed = (done.stderr or done.stdout).strip()
            raise TwinError(f"{self.name}: {' '.join(command)}: {printed or f'exit {done.returncode}'}")
        return done.stdout

    def show(self, *commands: str, options: tuple[str, ...] = READING) -> list[list[dict[str, Any]]]:
        """What `ip -j` shows for each of these commands. Raises TwinError."""
        try:
            found, wrong = self._tool(options).show(commands)
        except IpEnded as ended:
            self._running.pop(options).close()
            found, wrong = [], str(ended)
        if wrong:
            raise TwinError(f"{self.name}: ip {'; '.join(commands)}: {wrong.strip()}")
        return found

    def links(self) -> list[dict[str, Any]]:
        """The devices, with details, as `ip -j -d link show` has them. Raises TwinError."""
        return self.show("link show", options=CHANGING)[0]

    def ip(self, commands: Sequence[Sequence[str]], *, tolerant: bool = False) -> None:
        """Run `ip` commands, each a list of words, in order. `tolerant`: a command that fails is no error. Raises TwinError."""
        batch: list[str] = []
        for words in commands:
            if all(_PLAIN.fullmatch(word) for word in words):
                batch.append(" ".join(words))
                continue
            self._batch(batch, tolerant)
            batch = []
            self._alone(words, tolerant)
        self._batch(batch, tolerant)

    def _tool(self, options: tuple[str, ...]) -> Ip:
        if options not in self._running:
            with self.inside():
                self._running[options] = Ip(options)
        return self._running[options]

    def _batch(self, lines: list[str], tolerant: bool) -> None:
        left = lines
        while left:
            try:
                wrong, left = self._tool(CHANGING).change(left, apart=tolerant), []
            except IpEnded as ended:
                self._running.pop(CHANGING).close()
                wrong, left = str(ended), left[ended.done + 1 :]
            if wrong and not tolerant:
                text = "\n".join(lines)
                raise TwinError(f"{self.name}: ip -batch: {wrong.strip()}\n{text}")

    def _alone(self, words: Sequence[str], tolerant: bool) -> None:
        """A command with a word that `ip -batch` would cut."""
        with self.inside():
            done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if done.returncode and not tolerant:
            raise TwinError(f"{self.name}: ip {' '.join(words)}: {done.stderr.strip()}")

    def close(self) -> None:
        """Close the descriptor; the kernel deletes the namespace with the last one (sockets hold it, too)."""
        for each in self._running.values():
            each.close()
        self._running.clear()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def check_name(name: str) -> None:
    """Raise InputError for a name that Linux gives no device (dev_valid_name of net/core/dev.c)."""
    raw = name.encode(errors="surrogateescape")
    if not 0 < len(raw) <= MAX_NAME or raw in (b".", b"..") or not _REFUSED.isdisjoint(raw):
        what = f"{name!r} is not a device's name"
        raise InputError(what, expected=f"1 to {MAX_NAME} bytes without /, : and white space, not . or ..")


def _enter(fd: int) -> None:
    if _libc().setns(fd, CLONE_NEWNET):
        raise TwinError(f"cannot enter a namespace: {os.strerror(ctypes.get_errno())}")
