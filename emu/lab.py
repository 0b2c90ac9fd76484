"""A bench without Kubernetes: hosts, routers, bridges and cables.

Names, MACs and interface names that are not given are chosen; all interfaces are captured. It is for
property tests of NAT and routes, and for trying one rule. Must not know clusters.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Self

from emu.capture import pages
from emu.capture.capture import Capture
from emu.capture.captured import Captured
from emu.clock import SECOND, Clock
from emu.errors import InputError
from emu.fork import Snapshot, forked
from emu.kernel import boot
from emu.kernel.iptables_text import iptables_text
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.device import Device
from emu.kernel.link.ipip import Ipip
from emu.kernel.link.vxlan import Vxlan
from emu.kernel.net.netns import Netns, Tally
from emu.kernel.sysctl import report


class Lab:
    """A clock, its namespaces, and a capture of all their interfaces (`capture=False`: none)."""

    gone = Tally()  # none of a lab's namespaces ends
    __deepcopy__ = forked

    def __init__(self, seed: int = 0, *, capture: bool = True) -> None:
        self.clock = Clock(seed)
        self.capture: Capture | None = Capture(self.clock) if capture else None
        self.namespaces: dict[str, Netns] = {}
        self._macs = 0

    def __repr__(self) -> str:
        return f"<lab of {', '.join(self.namespaces) or 'no host'}, at {self.clock.now / SECOND:.3f} s>"

    def host(self, name: str, **sysctls: int | str) -> Netns:
        """A namespace; sysctls with `__` for dots (`net__ipv4__tcp_timestamps=0`). Raises InputError."""
        return self._namespace(name, "host", sysctls)

    def _namespace(self, name: str, role: str, sysctls: Mapping[str, int | str]) -> Netns:
        if name in self.namespaces:
            raise InputError(f"there is a host {name!r} already")
        net = boot.namespace(self.clock, name, {key.replace("__", "."): value for key, value in sysctls.items()})
        if self.capture is not None:
            self.capture.attach_namespace(net, name, role=role)
        self.namespaces[name] = net
        return net

    def router(self, name: str, **sysctls: int | str) -> Netns:
        """A host that forwards packets, with connection tracking and NAT on."""
        net = self._namespace(name, "router", {"net__ipv4__ip_forward": 1, **sysctls})
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
        for cidr in filter(None, (one_cidr, other_cidr)):
            if "/" not in cidr:
                raise InputError(f"{cidr!r} has no length", expected=f"an address and a length, such as {cidr}/24")
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
        """Change rules: commands as `iptables` takes them, `-t nat -A PREROUTING ...` (default table filter), one a line, or a
        text of iptables-save, which comes to what is there. Raises InputError."""
        boot.netfilter(net)
        for rule in rules:
            iptables_text(net, rule)

    def run(self, seconds: float) -> None:
        """Let virtual time pass. Raises InputError."""
        if not 0 <= seconds < float("inf"):
            raise InputError(f"seconds is {seconds:g}", expected="0 or more")
        self.clock.run_until(self.clock.now + int(seconds * SECOND))

    @property
    def warnings(self) -> list[str]:
        """The sysctls that are set but not modelled, one sentence each."""
        found = [(name, each) for name, net in self.namespaces.items() for each in net.sysctl.not_modelled()]
        return [f"{name}: {report(variable, value)}" for name, (variable, value, _) in found]

    def frames(self, interface: str | None = None) -> list[Captured]:
        """The captured frames in time order, of all interfaces or of one ("router/eth0"). Raises InputError where nothing is
        captured."""
        if self.capture is None:
            raise InputError("nothing was captured", expected="a lab with capture=True")
        return self.capture.frames(interface=interface)

    def html(self, path: str | os.PathLike[str] | None = None, *, force: bool = False) -> str:
        """The page in which one steps through the lab's frames, as text; with `path` it is written there, too. Raises InputError:
        nothing was captured, jinja2 is not installed, or there is a file that emu did not write, unless `force`."""
        return pages.page("lab", self, path, force=force)

    def fork(self) -> Self:
        """A second lab in the same state, with a future of its own. Raises InputError while the clock runs."""
        return self.snapshot().fork()

    def snapshot(self) -> Snapshot[Self]:
        """The state as it is now: each `fork()` of it is a lab of its own. Raises InputError while the clock runs."""
        if self.clock.turning:
            raise InputError("a lab cannot be copied while its clock runs", expected="a call between two runs")
        return Snapshot(self)
