"""Pod network `bridge`, kubenet's: the node's pods are on link to each other, everything else is behind cbr0.

Must not know pods.
"""

from __future__ import annotations

from pathlib import Path

from emu.kube.cni.config import NetworkConfigList
from emu.kube.networks import host_gw, ip_masq_agent
from emu.kube.networks.network import Network, NodeSettings, Options, network_options, networks

CONFLIST = Path(__file__).with_name("bridge.conflist")


@network_options.add("bridge")
class BridgeOptions(Options, frozen=True):
    """`hostGw` false: nodes on one link have no routes to each other's pods, as in a cloud: all goes by the underlay's router."""

    host_gw: bool = True


@networks.add("bridge")
def bridge(node: NodeSettings) -> Network:
    """The underlay routes the node's pod CIDR; nodes on one link route to each other themselves, unless the options forbid it."""
    return Network(
        NetworkConfigList.load(CONFLIST, node.words()),
        rules=ip_masq_agent.rules(),
        routes=(node.pod_cidr,),
        agents=(host_gw.NAME,) if node.of(BridgeOptions).host_gw else (),
    )
