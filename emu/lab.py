"""A bench without Kubernetes: hosts, routers, bridges and cables.

Names, MACs and interface names that are not given are chosen; all interfaces are captured. It is for
property tests of NAT and routes, and for trying one rule. Must not know clusters.
"""

from __future__ import annotations

from typing import Any

from emu.capture.capture import Capture
from emu.clock import SECOND, Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.device import Device
from emu.kernel.link.ipip import Ipip
from emu.kernel.link.vxlan import Vxlan
from emu.kernel.net.netns import Netns, Tally
from emu.kernel.sysctl import report


class Lab:
    """A clock, its namespaces, and a capture of all their interfaces (`capture=False`: none)."""

    gone = Tally()  # none of a lab's namespaces ends

    def __init__(self, seed: int = 0, *, capture: bool = True) -> None:
        self.clock = Clock(seed)
        self.capture: Capture | None = Capture(self.clock) if capture else None
        self.namespaces: dict[str, Netns] = {}
        self._macs = 0

    def host(self, name: str, **sysctls: int | str) -> Netns:
        """A namespace; sysctls with `__` for dots (`net__ipv4__tcp_timestamps=0`). Raises InputError."""
        if name in self.namespaces:
            raise InputError(f"there is a host {name!r} already")
        net = boot.namespace(self.clock, name, {key.replace("__", "."): value for key, value in sysctls.items()})
        if self.capture is not None:
            self.capture.attach_namespace(net, name)
        self.namespaces[name] = net
        return net

    def router(self, name: str, **sysctls: int | str) -> Netns:
        """A host that forwards packets, with connection tracking and NAT on."""
        net = self.host(name, net__ipv4__ip_forward=1, **sysctls)
        boot.netfilter(net)
        return net

    def _mac(self) -> bytes:
        self._macs += 1
        return b"\x02\0" + self._macs.to_bytes(4, "big")

    def _name(self, net: Netns) -> str:
        number = 0
        while f"eth{number}" in net.devices:
            number += 1
        return f"eth{number}"

    def cable(
        self,
        one: Netns | Bridge,
        one_cidr: str,
        other: Netns | Bridge,
        other_cidr: str,
        *,
        default: bool = False,
        mtu: int = 1500,
    ) -> tuple[Device, Device]:
        """A cable between two hosts or bridges, an address at each end ("" for none, and on a bridge's port).

        `default` gives `one` a default route via `other`. Raises InputError.
        """
        one_net, other_net = (end.net if isinstance(end, Bridge) else end for end in (one, other))
        ends = boot.veth(one_net, self._name(one_net), other_net, self._name(other_net), self._mac(), self._mac(), mtu)
        for place, device, cidr in ((one, ends[0], one_cidr), (other, ends[1], other_cidr)):
            if isinstance(place, Bridge):
                place.add_port(device)
            elif cidr:
                boot.address(place, device, cidr)
        if default and isinstance(one, Netns):
            boot.route(one, f"default via {other_cidr.partition('/')[0]} dev {ends[0].name}")
        return ends

    def bridge(self, net: Netns, name: str = "br0", cidr: str = "") -> Bridge:
        """A bridge, with an address if given. Raises InputError."""
        bridge = boot.bridge(net, name, self._mac())
        if cidr:
            boot.address(net, bridge, cidr)
        return bridge

    def vxlan(self, net: Netns, name: str, text: str, cidr: str = "", *fdb: str, mtu: int | None = None) -> Vxlan:
        """`ip link add NAME type vxlan TEXT`, up, with an address if given, and each of `fdb` as for `bridge fdb`, without the
        device: `append 00:00:00:00:00:00 dst 10.0.0.2`. Raises InputError."""
        device = boot.vxlan(net, name, self._mac(), text, mtu)
        for entry in fdb:
            boot.fdb(net, f"{entry} dev {name}")
        if cidr:
            boot.address(net, device, cidr)
        return device

    def ipip(self, net: Netns, name: str, text: str = "", cidr: str = "", mtu: int | None = None) -> Ipip:
        """`ip link add NAME type ipip TEXT`, up, with an address if given; `tunl0` has no words. Raises InputError."""
        device = boot.ipip(net, name, text, mtu)
        if cidr:
            boot.address(net, device, cidr)
        return device

    def iptables(self, net: Netns, *rules: str) -> None:
        """Append rules written as for `iptables`: `-t nat -A PREROUTING ...` (default table filter). Raises InputError."""
        boot.netfilter(net)
        for rule in rules:
            words = rule.split()
            table = "filter"
            if "-t" in words:
                at = words.index("-t")
                table = "".join(words[at + 1 : at + 2])
                del words[at : at + 2]
            if not words:
                raise InputError(f"{rule!r} is no rule", expected="-A CHAIN ...", file="iptables")
            if words[0] == "-N":
                words = [f":{words[1]}", "-", "[0:0]"]
            net.ipv4.tables.restore(f"*{table}\n{' '.join(words)}\nCOMMIT\n", noflush=True, file="iptables")

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.clock.run_until(self.clock.now + int(seconds * SECOND))

    @property
    def warnings(self) -> list[str]:
        """The sysctls that are set but not modelled, one sentence each."""
        found = [(name, each) for name, net in self.namespaces.items() for each in net.sysctl.not_modelled()]
        return [f"{name}: {report(variable, value)}" for name, (variable, value, _) in found]

    def frames(self, interface: str | None = None) -> list[Any]:
        """The captured frames in time order (`capture.Captured`), of all interfaces or of one ("router/eth0")."""
        return [] if self.capture is None else self.capture.frames(interface=interface)
