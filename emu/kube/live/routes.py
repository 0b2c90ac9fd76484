"""The underlay's routes to pods whose addresses are not of their node's pod CIDR, where no network routes them itself.

Must not know how an underlay routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from emu.errors import InputError
from emu.kube.node.node import Sandbox
from emu.wire.addr import Prefix


def route_each(pods: Iterable[Sandbox], route: Callable[[Prefix, int], None]) -> None:
    """A route to each such pod by its node's address."""
    for pod in pods:
        if not pod.host_network and (pod.node.pod_cidr is None or pod.ip not in pod.node.pod_cidr):
            with suppress(InputError):  # of two pods with one address the first has it
                route(Prefix(int(pod.ip), 32), pod.node.ip)
