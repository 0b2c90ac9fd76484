"""Underlay `routed`: a router with a subnet for each node. Must not know pods."""

from __future__ import annotations

from emu.kernel import boot
from emu.kernel.link.veth import Veth
from emu.kube.underlay.underlay import LARGE, Sysctls, Underlay, underlays
from emu.wire.addr import Prefix, ip4, ip4_text


@underlays.add("routed")
class Routed(Underlay):
    def build(self, sysctls: Sysctls, forwarding: Sysctls) -> None:
        self.net = self.router = self.namespace("underlay", forwarding)

    def subnet_of(self, index: int) -> Prefix:
        if self.few:
            return Prefix(ip4(f"192.168.{51 + index}.0"), 24)
        return Prefix(LARGE.net + index * 16, 28)

    def address_of(self, index: int) -> int:
        return self.subnet_of(index).net + (11 + index if self.few else 2)

    def plug(self, port: Veth, index: int) -> None:
        boot.address(self.net, port, f"{ip4_text(self.gateway_of(index))}/{self.subnet_of(index).length}")
