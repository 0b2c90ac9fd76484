"""Underlay `routed`: a router with a subnet for each node. LANs of a scenario hang on switches beside it. Must not know pods."""

from __future__ import annotations

from emu.kube.underlay.shape import Lan
from emu.kube.underlay.underlay import FEW, LARGE, Sysctls, Underlay, underlays
from emu.wire.addr import Prefix, ip4


@underlays.add("routed")
class Routed(Underlay):
    @classmethod
    def default_lan(cls, index: int, nodes: int) -> Lan:
        subnet = Prefix(ip4(f"192.168.{51 + index}.0"), 24) if nodes <= FEW else Prefix(LARGE.net + index * 16, 28)
        return Lan(f"node {index + 1}", subnet, subnet.net + 1, switch=False)

    @classmethod
    def default_address(cls, index: int, nodes: int) -> int:
        return cls.default_lan(index, nodes).subnet.net + (11 + index if nodes <= FEW else 2)

    def build(self, sysctls: Sysctls, forwarding: Sysctls) -> None:
        self.net = self.router = self.namespace("underlay", forwarding)
        if any(lan.switch for lan in self.layout.lans.values()):
            self.switches = self.namespace("switches", sysctls)
