"""Pod network `flannel`: a bridge on each node, joined by flanneld after its net-conf.json (Documentation/kube-flannel.yml).

It asks nothing of the underlay: flanneld's routes lead to the other nodes. Must not know pods, or what flanneld does.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from emu.errors import InputError
from emu.kernel.link.vxlan import DEFAULT_PORT
from emu.kube.cni.config import NetworkConfigList
from emu.kube.networks.network import Network, NodeSettings, Options, network_options, networks
from emu.wire.addr import Prefix
from emu.wire.vxlan import HEADROOM, MAX_VNI

CONFLIST = Path(__file__).with_name("flannel.conflist")
VXLAN, HOST_GW = "vxlan", "host-gw"


class Backend(Options, frozen=True):
    """How flanneld reaches other nodes. `Port` 0 is the kernel's; `MTU`, that of the nodes' link, 0: as it is. With `DirectRouting` what is on the
    same link is not encapsulated. host-gw reads only `Type`."""

    type: Literal["vxlan", "host-gw"] = field(default="vxlan", name="Type")
    vni: Annotated[int, Meta(ge=0, le=MAX_VNI)] = field(default=1, name="VNI")
    port: Annotated[int, Meta(ge=0, le=65535)] = field(default=0, name="Port")
    mtu: Annotated[int, Meta(ge=0, le=65535)] = field(default=0, name="MTU")
    learning: bool = field(default=False, name="Learning")
    direct_routing: bool = field(default=False, name="DirectRouting")

    @property
    def udp_port(self) -> int:
        return self.port or DEFAULT_PORT


@network_options.add("flannel")
class NetConf(Options, frozen=True):
    """flannel's ConfigMap: the keys of net-conf.json, and `delegate`, the keys of cni-conf.json's `delegate` beside or in place of
    hairpinMode and isDefaultGateway. `Network` "" is the cluster's podSubnet; `iface` is flanneld's --iface, the device that
    other nodes are reached by: by default that of the default route."""

    network: str = field(default="", name="Network")
    backend: Backend = field(default=Backend(), name="Backend")
    enable_nftables: bool = field(default=False, name="EnableNFTables")
    delegate: dict[str, Any] = {}
    iface: str = ""

    def check(self, pod_subnet: Prefix) -> None:
        self.prefix(pod_subnet)
        if self.enable_nftables:
            raise InputError("flannel's nftables rules are not modelled", path="EnableNFTables", expected="false")
        for key in ("name", "ipam"):
            if key in self.delegate:
                raise InputError(
                    f'flannel sets "{key}" itself', path=f"delegate.{key}", expected="other keys of the delegate"
                )

    def prefix(self, pod_subnet: Prefix) -> Prefix:
        """flannel's network: all pods. Raises InputError."""
        if not self.network:
            return pod_subnet
        try:
            return Prefix.parse(self.network, strict=True)
        except InputError as error:
            raise InputError(error.what, path="Network", expected=error.expected) from None

    def mtu_inside(self, mtu: int) -> int:
        """The MTU that pods get, of a link's, as subnet.env gives it."""
        if self.backend.type == HOST_GW:
            return mtu
        return (self.backend.mtu or mtu) - HEADROOM


@networks.add("flannel")
def flannel(node: NodeSettings) -> Network:
    """Each node's pod CIDR lies in flannel's network: flanneld ends otherwise (AcquireLease). Raises InputError."""
    conf = node.of(NetConf)
    whole = conf.prefix(node.pod_subnet)
    if not whole.overlaps(node.pod_cidr) or whole.length > node.pod_cidr.length:
        what = f"the pod CIDR {node.pod_cidr} of a node is not in flannel's network {whole}"
        raise InputError(what, path="cluster.flannel.Network", expected="a network that has every node's pod CIDR")
    config = NetworkConfigList.load(CONFLIST, node.words())
    first, *others = config.plugins
    delegate = {**first["delegate"], **conf.delegate}
    return Network(replace(config, plugins=({**first, "delegate": delegate}, *others)), agents=("flanneld",))
