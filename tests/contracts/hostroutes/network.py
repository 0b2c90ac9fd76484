"""Pod network `hostroutes`: a bridge on each node, and an agent that routes from node to node. Must not know pods.

It asks nothing of the underlay: no router knows a pod CIDR, so that pods reach other nodes by the agent's routes alone.
"""

from __future__ import annotations

from pathlib import Path

from emu.kube.cni.config import NetworkConfigList
from emu.kube.networks.network import Network, NodeSettings, networks

CONFLIST = Path(__file__).with_name("hostroutes.conflist")


@networks.add("hostroutes")
def hostroutes(node: NodeSettings) -> Network:
    return Network(NetworkConfigList.load(CONFLIST, node.words()), agents=("hostroutes-agent",))
