"""Pod network `bridge`, kubenet's: the node's pods are on link to each other, everything else is behind cbr0.

Must not know pods.
"""

from __future__ import annotations

from pathlib import Path

from emu.kube.cni.config import NetworkConfigList
from emu.kube.networks import host_gw, ip_masq_agent
from emu.kube.networks.network import Network, NodeSettings, networks

CONFLIST = Path(__file__).with_name("bridge.conflist")


@networks.add("bridge")
def bridge(node: NodeSettings) -> Network:
    """The underlay routes the node's pod CIDR; nodes on one link route to each other themselves."""
    return Network(
        NetworkConfigList.load(CONFLIST, node.words()),
        rules=ip_masq_agent.rules(),
        routes=(node.pod_cidr,),
        agents=(host_gw.NAME,),
    )
