"""What runs in pods, over sockets only: one file an app. Must not know Kubernetes.

An app is started with its namespace, port, protocol and the pod's name, acts in virtual time when its
socket wakes it, and can be stopped. Starting raises SocketError when the port is taken.
"""

from __future__ import annotations

from typing import Protocol

from emu.kernel.net.netns import Netns
from emu.registry import Shelf


class App(Protocol):
    """A running app."""

    def __init__(self, net: Netns, port: int, protocol: str, name: str) -> None: ...

    def stop(self) -> None: ...


apps: Shelf[type[App]] = Shelf("app", "emu.apps")
