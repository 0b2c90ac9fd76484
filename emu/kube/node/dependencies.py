"""What a kubelet uses besides its node. Must not know who has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from emu.clock import Clock
from emu.kernel.net.netns import Netns
from emu.kube.node.found import Found
from emu.kube.node.node import Sandbox
from emu.kube.store import Store


class Dependencies(Protocol):
    """What a kubelet uses besides its node. `pods` are the sandboxes of all nodes by "namespace/name", `as_found` the
    pods that ran before the clock started, by uid, `under_way` holds the work that is due before the cluster has settled. `capturing`: from now on a capture has what is sent."""

    clock: Clock
    store: Store
    pods: dict[str, Sandbox]
    as_found: dict[str, Found]
    warnings: list[str]
    under_way: set[Any]
    capturing: bool

    def adopt(self, name: str, net: Netns, *, node: str) -> None:
        """A pod's namespace was made on `node`: capture and watch it."""

    def hold(self, sandbox: Sandbox) -> None:
        """Who asks for a pod's namespace is to ask the pod. If there is none yet, the pod's address is named."""

    def set_aside(self, name: str) -> None:
        """A pod's namespace is deleted, until it is adopted once more."""

    def disown(self, name: str) -> None:
        """A pod's namespace was deleted."""

    def started(self, app: Any) -> None:
        """An app of a pod was started."""

    def act(self) -> None:
        """Objects have changed: run controllers, scheduler and kubelets."""

    def unseen(self, call: Callable[[], None]) -> None:
        """Call what was put off: it sends what was sent before there was a capture."""
