"""Pod network `kindnet`, kind's own: a routed veth pair for each pod, and kindnetd's routes between the nodes, which share one
link.

It asks nothing of the underlay. Must not know pods, or what kindnetd does.
"""

from __future__ import annotations

from pathlib import Path

from emu.kube.cni.config import NetworkConfigList
from emu.kube.networks.network import Network, NodeSettings, network_underlays, networks

CONFLIST = Path(__file__).with_name("kindnet.conflist")

network_underlays.add("kindnet")("switched")


@networks.add("kindnet")
def kindnet(node: NodeSettings) -> Network:
    return Network(NetworkConfigList.load(CONFLIST, node.words()), agents=("kindnetd",), policy="kindnet")
