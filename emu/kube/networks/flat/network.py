"""Pod network `flat`: in every pod's routes, all pods share one link.

On a node's bridge only the node itself answers ARP for another node's pod (proxy ARP). The pod's subnet is wider than
the bridge's, so that the plugin does not number the bridge (`isGateway` is false): the node does. Must not know pods.
"""

from __future__ import annotations

from pathlib import Path

from emu.kube.cni.config import NetworkConfigList
from emu.kube.networks import host_gw, ip_masq_agent
from emu.kube.networks.network import Network, NodeBridge, NodeSettings, networks
from emu.wire.addr import ip4_text

CONFLIST = Path(__file__).with_name("flat.conflist")


@networks.add("flat")
def flat(node: NodeSettings) -> Network:
    """As for `bridge`, the underlay routes the node's pod CIDR."""
    address = f"{ip4_text(node.pod_cidr.net + 1)}/{node.pod_cidr.length}"
    return Network(
        NetworkConfigList.load(CONFLIST, node.words()),
        rules=ip_masq_agent.rules(),
        bridges=(NodeBridge("cbr0", address, {"proxy_arp": 1}),),
        routes=(node.pod_cidr,),
        agents=(host_gw.NAME,),
    )
