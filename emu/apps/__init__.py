"""What runs in pods: one file an app, found by the registry, over sockets only.

An app is started on a port of a namespace and acts in virtual time: when a socket wakes it, it does
its work `APP_DELAY_NS` later, never inside the wake-up (which is part of a packet's walk). Must not
know pods, Services or captures.
"""

from __future__ import annotations

from typing import Any, Protocol

from emu.clock import US
from emu.errors import InputError
from emu.registry import Shelf

__all__ = ["APP_DELAY_NS", "App", "Host", "Running", "apps", "start"]

# from an app's wake-up until it acts
APP_DELAY_NS = 50 * US


class Host(Protocol):
    """The namespace that an app runs in: its clock (as `emu.clock`) and its sockets (as `emu.kernel.transport.sockets`)."""

    @property
    def name(self) -> str: ...
    @property
    def clock(self) -> Any: ...
    @property
    def sockets(self) -> Any: ...


class Running(Protocol):
    """A running app. `stop` closes its sockets, and its open connections by FIN."""

    def stop(self) -> None: ...


class App(Protocol):
    """Starts on a port. `protocol` is TCP or UDP, `name` the name in the app's answers (the pod's).

    Raises InputError for a protocol that the app does not use, SocketError EADDRINUSE for a port that is taken.
    """

    def __call__(self, net: Host, port: int, protocol: str, name: str) -> Running: ...


apps: Shelf[App] = Shelf("app", "emu.apps")


def start(app: str, net: Host, port: int, protocol: str = "TCP", name: str = "") -> Running:
    """Start the app called `app`. Raises as `App`, and InputError with the nearest name for an unknown app."""
    return apps[app](net, port, protocol, name or net.name)


def refuse_protocol(app: str, protocol: str, *spoken: str) -> InputError:
    """The error of an app that does not use a protocol."""
    return InputError(f"the app {app} does not speak {protocol}", expected=" or ".join(spoken))
