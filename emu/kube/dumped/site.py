"""One node whose dump takes over, and what is known around it. Must not know the texts, or what is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from emu.kernel.link.device import Device
from emu.kernel.link.veth import Veth
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.netns import Netns
from emu.kube.dumped.difference import Difference
from emu.kube.dumped.dump import Dump
from emu.kube.node.node import Node, Sandbox
from emu.wire.addr import Prefix


@dataclass
class Site:
    """`nodes` and `pods` are those of the cluster that run, `stated` the addresses that any object has,
    `tunnels` the nodes whose objects state their tunnel's MAC. `devices` are the node's by the name
    that the dump has for them, `routes` those that emu computed. `macs` are emu's MACs by those of all dumps: the cluster's machines have MACs of emu's own."""

    node: Node
    dump: Dump
    nodes: Mapping[str, Node]
    pods: Mapping[str, Sandbox]
    pod_subnet: Prefix
    macs: dict[bytes, bytes]
    stated: frozenset[int]
    tunnels: frozenset[str]
    routes: tuple[Route, ...] = ()
    devices: dict[str, Device] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def net(self) -> Netns:
        return self.node.net

    @property
    def own_pods(self) -> list[Sandbox]:
        """The pods that run on the node in a network of their own."""
        return [each for each in self.node.sandboxes.values() if not each.host_network]

    def pod_devices(self) -> dict[int, Device]:
        """The node's end of each pod's cable, by the pod's address."""
        found: dict[int, Device] = {}
        for pod in self.own_pods:
            for device in pod.net.devices.values():
                if isinstance(device, Veth) and device.peer is not None and device.peer.net is self.net:
                    found[int(pod.ip)] = device.peer
        return found

    @cached_property
    def owners(self) -> dict[int, str]:
        """Who has an address."""
        found = {int(pod.ip): f"pod/{pod.name}" for pod in self.pods.values() if not pod.host_network}
        return found | {int(each.ip): f"node/{each.name}" for each in self.nodes.values()}

    def _spaces(self) -> list[Netns]:
        every = [*(each.net for each in self.pods.values()), *(each.net for each in self.nodes.values())]
        return [*{id(each): each for each in every}.values()]

    @cached_property
    def macs_by_address(self) -> dict[int, bytes]:
        """emu's MAC of each address: pods', nodes', tunnels'."""
        return {each.addr: each.device.mac for net in self._spaces() for each in net.ipv4.addresses}

    @cached_property
    def emu_macs(self) -> frozenset[bytes]:
        """Every MAC of emu's."""
        return frozenset(device.mac for net in self._spaces() for device in net.devices.values())

    def owner(self, addr: int) -> str:
        """The pod or node that has an address, in words; "" for none."""
        return self.owners.get(addr, "")

    def known(self, addr: int) -> bool:
        """Whether anything has an address, also a pod that is an object alone."""
        return bool(self.owner(addr)) or addr in self.stated

    def differs(
        self,
        id: str,
        what: str,
        place: str,
        expected: str = "",
        found: str = "",
        *,
        addr: int = 0,
        port: int = 0,
        device: str = "",
        chain: str = "",
        service: str = "",
        prefix: Prefix | None = None,
    ) -> None:
        """Note one difference; `id` without `node-`."""
        self.differences.append(
            Difference(
                f"node-{id}", self.node.name, what, place, expected, found, addr, port, device, chain, service, prefix
            )
        )
