"""Pod network `calico`: its options, the pool that they make, and what calico-node does on a node before it knows any pod.

The underlay routes no pod: nodes route each other's blocks. Must not know pods.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from emu.errors import InputError
from emu.kube.api.calico import Encapsulation, IPAMBlock, IPPool, IPPoolSpec
from emu.kube.api.meta import ObjectMeta
from emu.kube.cni import calico_blocks
from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.datastore import datastore
from emu.kube.cni.spec import Host
from emu.kube.networks.calico import pool
from emu.kube.networks.network import Network, NodeSettings, Options, network_options, networks
from emu.wire.addr import Prefix

CONFLIST = Path(__file__).with_name("calico.conflist")
POOL = "default-ipv4-ippool"
_LENGTHS = range(20, 33)  # of blocks


@network_options.add("calico")
class CalicoOptions(Options, frozen=True):
    """The pool of pods' addresses, in the words of Calico's IPPool. Without a mode of either kind, `vxlanMode` is CrossSubnet, as
    in Calico's own installation. `cidr` is the pod subnet, or a part of it."""

    cidr: str = ""
    block_size: int = 26
    ipip_mode: Encapsulation | None = None
    vxlan_mode: Encapsulation | None = None
    nat_outgoing: bool = True

    def check(self, pod_subnet: Prefix) -> None:
        """Raises InputError."""
        spec = self.pool(pod_subnet)
        try:
            prefix = Prefix.parse(spec.cidr, strict=True)
        except InputError as error:
            raise InputError(error.what, path="cidr", expected=error.expected) from None
        if not prefix.overlaps(pod_subnet) or prefix.length < pod_subnet.length:
            raise InputError(f"{prefix} is not in the pod subnet", path="cidr", expected=f"a part of {pod_subnet}")
        if spec.block_size not in _LENGTHS or spec.block_size < prefix.length:
            first = max(_LENGTHS[0], prefix.length)
            raise InputError(
                f"{spec.block_size} is no size of blocks of {prefix}",
                path="blockSize",
                expected=f"{first} to {_LENGTHS[-1]}",
            )
        if spec.ipip_mode != "Never" and spec.vxlan_mode != "Never":
            raise InputError("a pool has one encapsulation", path="vxlanMode", expected="ipipMode or vxlanMode: Never")

    def pool(self, pod_subnet: Prefix) -> IPPoolSpec:
        ipip, vxlan = self.ipip_mode, self.vxlan_mode
        if ipip is None and vxlan is None:
            vxlan = "CrossSubnet"
        return IPPoolSpec(
            cidr=self.cidr or str(pod_subnet),
            block_size=self.block_size,
            ipip_mode=ipip or "Never",
            vxlan_mode=vxlan or "Never",
            nat_outgoing=self.nat_outgoing,
        )


@dataclass(frozen=True)
class CalicoNetwork(Network):
    """`pool` is the cluster's, made by the first node that comes."""

    pool: IPPoolSpec = field(default_factory=IPPoolSpec)

    def prepare(self, host: Host) -> None:
        """The cluster's pool, if it is not there, and the address of the node's tunnel, out of a block that it claims for it
        (node/pkg/allocateip). Idempotent."""
        store, node = datastore(host), host.netns.name
        found = store.get(IPPool, "", POOL) or store.put(IPPool(metadata=ObjectMeta(name=POOL), spec=self.pool))
        kind = pool.tunnel(found.spec)
        handle = pool.tunnel_handle(kind, node)
        if kind and not calico_blocks.address_of(store.list(IPAMBlock), handle):
            calico_blocks.assign(store, found, node, handle)


@networks.add("calico")
def calico(node: NodeSettings) -> Network:
    spec = node.of(CalicoOptions).pool(node.pod_subnet)
    mtu = node.mtu - pool.OVERHEAD[pool.tunnel(spec)]
    config = NetworkConfigList.load(CONFLIST, {**node.words(), "PodMtu": str(mtu)})
    return CalicoNetwork(config, agents=("calico-node",), pool=spec, policy="calico")
