"""Underlay `switched`: a switch for each LAN, one in all if the scenario has none, and a gateway, which routes between them
and to the outside. Must not know pods."""

from __future__ import annotations

from emu.kube.underlay.shape import Lan
from emu.kube.underlay.underlay import FEW, LARGE, Sysctls, Underlay, underlays
from emu.wire.addr import Prefix

SWITCH_NET = Prefix.parse("192.168.50.0/24")
LAN = "nodes"


@underlays.add("switched")
class Switched(Underlay):
    @classmethod
    def default_lan(cls, index: int, nodes: int) -> Lan:
        subnet = SWITCH_NET if nodes <= FEW else LARGE
        return Lan(LAN, subnet, subnet.net + 1)

    @classmethod
    def default_address(cls, index: int, nodes: int) -> int:
        return cls.default_lan(index, nodes).subnet.net + 11 + index

    def build(self, sysctls: Sysctls, forwarding: Sysctls) -> None:
        self.net = self.switches = self.namespace("underlay", sysctls)
        self.router = self.namespace("gateway", forwarding)
