"""What follows from a pool's encapsulation: the tunnel that nodes need, its MAC and its owner in the IPAM, the bytes that it costs.

Pure. Must not know nodes or how a tunnel is made.
"""

from __future__ import annotations

from hashlib import sha1

from emu.kube.api.calico import Encapsulation, IPPoolSpec

VXLAN, IPIP, NONE = "vxlan", "ipip", ""
DEVICE = {VXLAN: "vxlan.calico", IPIP: "tunl0"}
OVERHEAD = {VXLAN: 50, IPIP: 20, NONE: 0}  # bytes of each packet; pods have so much less MTU than their node
VXLAN_VNI, VXLAN_PORT = 4096, 4789


def tunnel(spec: IPPoolSpec) -> str:
    """The kind of tunnel, also where only packets to other subnets take it; "" for none."""
    if spec.vxlan_mode != "Never":
        return VXLAN
    return IPIP if spec.ipip_mode != "Never" else NONE


def mode(spec: IPPoolSpec) -> Encapsulation:
    return spec.vxlan_mode if spec.vxlan_mode != "Never" else spec.ipip_mode


def tunnel_handle(kind: str, node: str) -> str:
    """The owner of the tunnel's address in the IPAM."""
    return f"{kind}-tunnel-addr-{node}"


def tunnel_mac(node: str) -> bytes:
    """The MAC of a node's VXLAN device: "f" and the begin of the name's SHA-1 (felix/calc/vxlan_resolver.go)."""
    return b"f" + sha1(node.encode(), usedforsecurity=False).digest()[:5]
