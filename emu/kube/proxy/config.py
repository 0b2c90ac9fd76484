"""What kube-proxy is configured with, and which traffic it takes for local by that.

Names are KubeProxyConfiguration's. Must not know Services, or any mode's rules.
"""

from __future__ import annotations

from typing import NamedTuple

from emu.clock import SECOND
from emu.errors import InputError
from emu.wire.addr import Prefix, ip4

DETECT_LOCAL_MODES = ("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix", "")


class Local(NamedTuple):
    """What marks a packet of a local pod: its source, or the device that it came in on ("veth+" is a prefix of names)."""

    src: Prefix | None = None
    indev: str = ""


class ProxyConfig(NamedTuple):
    """The configuration of a node's kube-proxy: names as in KubeProxyConfiguration, plus facts of the node.

    `cluster_cidr` may list several, the first IPv4 one counts. `pod_cidr`, `node_ip`, `zone`: the node's.
    `node_addresses` are read only when `node_port_addresses` is not empty. `nfacct`: the kernel has nfnetlink_acct,
    so that kube-proxy counts two things by name. `release` of Kubernetes (major, minor) decides which conntrack entries are
    deleted; the rules are the same for all. `min_sync_period_ns` lies between two syncs; every `sync_period_ns`
    kube-proxy checks that its rules are still there.
    """

    mode: str = "iptables"
    node_name: str = ""
    node_ip: str = ""
    zone: str = ""
    pod_cidr: str = ""
    node_addresses: tuple[str, ...] = ()
    cluster_cidr: str = ""
    detect_local_mode: str = "ClusterCIDR"
    bridge_interface: str = ""
    interface_name_prefix: str = ""
    masquerade_all: bool = False
    masquerade_bit: int = 14
    localhost_node_ports: bool = True
    node_port_addresses: tuple[str, ...] = ()  # CIDRs, or "primary" for node_ip
    tcp_be_liberal: bool = False
    nfacct: bool = False
    min_sync_period_ns: int = SECOND
    sync_period_ns: int = 30 * SECOND
    release: tuple[int, int] = (1, 36)

    @property
    def mark(self) -> int:
        return 1 << self.masquerade_bit

    def local(self) -> Local | None:
        """What marks traffic of local pods; None when nothing does. Raises InputError for an unknown mode."""
        mode = self.detect_local_mode
        if mode not in DETECT_LOCAL_MODES:
            raise InputError(f"unknown detectLocalMode {mode!r}", expected=", ".join(DETECT_LOCAL_MODES[:-1]))
        if mode in ("ClusterCIDR", "NodeCIDR"):
            text = self.cluster_cidr if mode == "ClusterCIDR" else self.pod_cidr
            cidr = next((part.strip() for part in text.split(",") if part.strip() and ":" not in part), "")
            if not cidr:
                return None
            return Local(src=Prefix.parse(cidr))
        device = self.bridge_interface if mode == "BridgeInterface" else self.interface_name_prefix
        if not device or not mode:
            return None
        return Local(indev=device if mode == "BridgeInterface" else f"{device}+")

    def loopback_node_ports(self) -> bool:
        """localhostNodePorts, which is off unless nodePortAddresses hold loopback."""
        return self.localhost_node_ports and (
            not self.node_port_addresses or any(ip4("127.0.0.1") in each for each in self._node_port_prefixes())
        )

    def node_port_ips(self) -> tuple[str, ...] | None:
        """The node's addresses that serve NodePorts; None for all."""
        prefixes = self._node_port_prefixes()
        if not prefixes or any(prefix.length == 0 for prefix in prefixes):
            return None
        addresses = [ip for ip in ("127.0.0.1", *self.node_addresses) if ":" not in ip]
        return tuple(
            ip
            for ip in dict.fromkeys(addresses)
            if any(ip4(ip) in prefix for prefix in prefixes) and (ip4(ip) >> 24 != 127 or self.loopback_node_ports())
        )

    def _node_port_prefixes(self) -> list[Prefix]:
        texts = [self.node_ip if text == "primary" else text for text in self.node_port_addresses]
        return [Prefix.parse(text) for text in texts if text and ":" not in text]
