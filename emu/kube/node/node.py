"""A node: its root namespace and its pods' sandboxes.

Who asks for a namespace here, or for what is in one, gets it as if each pod had its network since its start: pods whose
wiring was put off (`unwired.py`) are wired first. Must not know the store or the other nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from emu.clock import Clock
from emu.kernel import boot
from emu.kernel.link.device import Device
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kernel.netfilter.save import parse_restore
from emu.kube.cni.spec import Result
from emu.kube.node.found import Found
from emu.kube.underlay.shape import Machine
from emu.wire.addr import Prefix
from emu.wire.shown import Ip4

# sysctls that a node's boot changes from the kernel's defaults (kubelet and kube-proxy require them)
NODE_SYSCTLS: Mapping[str, int | str] = {
    "net.ipv4.ip_forward": 1,
    "net.bridge.bridge-nf-call-iptables": 1,
    "net.bridge.bridge-nf-call-arptables": 0,
}


@dataclass(slots=True, eq=False)
class Container:
    """A container of a pod: the apps that it runs (one for each of its `ports`, number and protocol), and the errno names of the ports
    that it cannot bind."""

    name: str
    apps: list[Any] = field(default_factory=list)
    ports: list[tuple[int, str]] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)


class Later(Protocol):
    """What is put off on a node."""

    def wake(self) -> None:
        """Do it now, and put nothing off any more."""


@dataclass(slots=True, eq=False)
class Wired:
    """The network of a pod, and what runs there."""

    net: Netns
    result: Result | None = None
    containers: list[Container] = field(default_factory=list)


@dataclass(slots=True, eq=False, repr=False)
class Sandbox:
    """A pod as its node runs it: one namespace that all its containers share, and CNI's result.

    A pod of the host's network has the node's namespace and no CNI result. `capability_args` are what CNI's runtime was given
    for the pod. `ended`: its containers have stopped; `restarts`: how often they were started again. `found` is how the export of a
    running cluster shows it. `wired` None: that was put off until someone asks for its namespace, its result or its containers.
    """

    namespace: str
    pod: str
    uid: str
    node: Node
    ip: int
    wired: Wired | None = None
    host_network: bool = False
    capability_args: Mapping[str, object] = field(default_factory=dict)
    ended: bool = False
    restarts: int = 0
    found: Found | None = None
    name: str = field(init=False)  # "namespace/pod"

    def __post_init__(self) -> None:
        self.name, self.ip = f"{self.namespace}/{self.pod}", Ip4(self.ip)

    def __repr__(self) -> str:
        return f"<pod {self.name} {self.ip} on {self.node.name}>"

    @property
    def net(self) -> Netns:
        return self._awake().net

    @property
    def result(self) -> Result | None:
        return self._awake().result

    @property
    def containers(self) -> list[Container]:
        return self._awake().containers

    def _awake(self) -> Wired:
        self.node.wake()
        assert self.wired is not None
        return self.wired


class Node:
    """A node. `machine` has its interfaces, `ip` is its InternalIP, `pod_cidr` the range of its pods' addresses, `disk` what CNI
    plugins and agents keep on it. `root` is its namespace as it is now, for those to whom it is the same with and without the ports of
    pods that no packet has reached; for all others there is `net`."""

    def __init__(
        self, clock: Clock, index: int, machine: Machine, pod_cidr: Prefix | None, sysctls: Mapping[str, int | str]
    ) -> None:
        self.name, self.index, self.machine, self.pod_cidr = machine.name, index, machine, pod_cidr
        self.ip: int = Ip4(machine.ip)
        self.root = boot.namespace(clock, machine.name, {**NODE_SYSCTLS, **sysctls})
        boot.netfilter(self.root)
        self.later: Later | None = None
        self.sandboxes: dict[str, Sandbox] = {}
        self.disk: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"<node {self.name} {self.ip}, {len(self.sandboxes)} pods>"

    @property
    def net(self) -> Netns:
        self.wake()
        return self.root

    def wake(self) -> None:
        """Wire the pods whose wiring was put off, and add the routes that agents have put off."""
        if self.later is not None:
            self.later.wake()
        self.root.settle()

    @property
    def files(self) -> dict[str, str]:
        """The texts of agents on the node's disk, by path."""
        return {key[1]: text for key, text in self.disk.items() if isinstance(key, tuple) and key[0] == "file"}

    def add_rules(self, text: str) -> None:
        """Append rules that are not kube-proxy's (`iptables-restore --noflush`). Raises InputError."""
        tables = self.root.ipv4.tables
        if tables.ruleset.tables:
            tables.restore(text, noflush=True)
        else:
            tables.replace(_parsed(text))


@cache
def _parsed(text: str) -> RuleSet:
    return parse_restore(text)


def switch_offloads_on(device: Device) -> None:
    """TX checksum, SG, TSO and GSO, as every veth and bridge of Linux has them; lo needs none."""
    device.offload = device.kind not in ("loopback", "vxlan")  # what a tunnel carries is completed before
