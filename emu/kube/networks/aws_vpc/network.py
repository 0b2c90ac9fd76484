"""Pod network `aws-vpc`: a pod has an address of the VPC, of one of its node's network interfaces.

The VPC carries its packets as they are; the node needs no route of the underlay. Must not know pods.
"""

from __future__ import annotations

from pathlib import Path

from emu.kube.cni.config import NetworkConfigList
from emu.kube.networks.aws_vpc.options import AwsOptions
from emu.kube.networks.network import Network, NodeSettings, network_plugins, network_underlays, networks
from emu.kube.policy.dataplane import NONE

CONFLIST = Path(__file__).with_name("aws-vpc.conflist")

network_underlays.add("aws-vpc")("vpc")
network_plugins.add("aws-cni")("aws-vpc")


@networks.add("aws-vpc")
def aws_vpc(node: NodeSettings) -> Network:
    """The pods' MTU is that of the interfaces, AWS_VPC_ENI_MTU. The add-on enforces no policies by default."""
    options = node.of(AwsOptions)
    words = node._replace(mtu=options.eni_mtu).words()
    config = NetworkConfigList.load(CONFLIST, words)
    policy = "aws-network-policy-agent" if options.enable_network_policy else NONE
    return Network(config, agents=("aws-node",), pods_outside=True, policy=policy)
