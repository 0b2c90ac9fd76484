"""What flanneld keeps of a node in the annotations of its Node object, and reads there of the others (pkg/subnet/kube).

Must not know devices or routes.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from emu.errors import InputError
from emu.kube.api.core import Node
from emu.kube.api.meta import replace
from emu.kube.networks.flannel.network import VXLAN
from emu.wire.addr import Prefix, ip4, ip4_text, mac, mac_text

PREFIX = "flannel.alpha.coreos.com/"
TYPE, DATA, PUBLIC_IP = f"{PREFIX}backend-type", f"{PREFIX}backend-data", f"{PREFIX}public-ip"
OVERWRITE, MANAGED = f"{PREFIX}public-ip-overwrite", f"{PREFIX}kube-subnet-manager"


class Lease(NamedTuple):
    """A node's share of the network: its pod CIDR, the address that it is reached at, and the MAC of its VXLAN device (b"" for
    another backend)."""

    node: str
    subnet: Prefix
    public_ip: int
    backend: str
    vtep_mac: bytes

    @classmethod
    def of(cls, node: Node) -> Lease | None:
        """nodeToLease: None for a node without flanneld, or whose annotations cannot be read."""
        given = node.metadata.annotations
        if given.get(MANAGED) != "true":
            return None
        backend = given.get(TYPE, "")
        try:
            address, subnet = ip4(given.get(PUBLIC_IP, "")), Prefix.parse(node.spec.pod_cidr)
            return cls(node.name, subnet, address, backend, mac(_vtep(node)) if backend == VXLAN else b"")
        except InputError:
            return None

    def annotated(self, node: Node, vni: int) -> Node:
        """AcquireLease: the node with the annotations of the lease. A `public-ip-overwrite` is taken for the address."""
        given = node.metadata.annotations
        data = (
            json.dumps({"VNI": vni, "VtepMAC": mac_text(self.vtep_mac)}, separators=(",", ":"))
            if self.vtep_mac
            else "null"
        )
        made = {
            TYPE: self.backend,
            DATA: data,
            PUBLIC_IP: given.get(OVERWRITE) or ip4_text(self.public_ip),
            MANAGED: "true",
        }
        if made.items() <= given.items():
            return node
        return replace(node, metadata=replace(node.metadata, annotations={**given, **made}))


def stored_mac(node: Node) -> bytes:
    """GetStoredMacAddresses: the MAC that the node's device had before a restart; b"" for none that can be read."""
    try:
        return mac(_vtep(node))
    except InputError:
        return b""


def _vtep(node: Node) -> str:
    try:
        data = json.loads(node.metadata.annotations.get(DATA, ""))
    except ValueError:
        return ""
    found = data.get("VtepMAC") if isinstance(data, dict) else None
    return found if isinstance(found, str) else ""
