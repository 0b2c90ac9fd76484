"""Underlay `switched`: one switch joins all nodes and a gateway, which routes to the outside. Must not know pods."""

from __future__ import annotations

from emu.kernel import boot
from emu.kernel.link.veth import Veth
from emu.kube.underlay.underlay import LARGE, Sysctls, Underlay, link_mac, underlays
from emu.wire.addr import Prefix, ip4_text

SWITCH_NET = Prefix.parse("192.168.50.0/24")


@underlays.add("switched")
class Switched(Underlay):
    def build(self, sysctls: Sysctls, forwarding: Sysctls) -> None:
        self.net = self.namespace("underlay", sysctls)
        self.switch = boot.bridge(self.net, "br0", link_mac(0xAA, 0))
        self.net.sysctl["net.bridge.bridge-nf-call-iptables"] = 0
        self.router = self.namespace("gateway", forwarding)
        port, eth0 = boot.cable(self.net, "gw", self.router, "eth0", link_mac(0xAA, 1), link_mac(0x42, 1))
        self.switch.add_port(port)
        boot.address(self.router, eth0, f"{ip4_text(self.gateway_of(0))}/{self.subnet_of(0).length}")

    def subnet_of(self, index: int) -> Prefix:
        return SWITCH_NET if self.few else LARGE

    def address_of(self, index: int) -> int:
        return self.subnet_of(index).net + 11 + index

    def plug(self, port: Veth, index: int) -> None:
        self.switch.add_port(port)
