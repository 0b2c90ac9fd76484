"""aws-node, the node agent of `aws-vpc`: it writes the node's rules, starts ipamd, and keeps ipamd's pool warm.

ipamd looks at its pool after each change of a pod, and every 30 s, when it gives back what is too much. An interface is
there at once: what EC2 takes to attach one (seconds) is not modelled. Must not know what a container gets.
"""

from __future__ import annotations

from emu.clock import SECOND
from emu.errors import InputError
from emu.kube.agent import Agent, Node, Objects, Settings, agents
from emu.kube.api.core import Node as NodeObject
from emu.kube.api.core import Pod
from emu.kube.api.meta import replace
from emu.kube.cni.plugins.aws_cni import IPAMD
from emu.kube.networks.aws_vpc import host_network, pool
from emu.kube.networks.aws_vpc.ipamd import Ipamd
from emu.kube.networks.aws_vpc.options import AwsOptions
from emu.kube.networks.aws_vpc.pool import Filled
from emu.kube.underlay.vpc.instance import METADATA, Instance
from emu.wire.addr import ip4_text

NAME = "aws-node"
EVERY_NS = 30 * SECOND


@agents.add(NAME)
class AwsNode(Agent[None, tuple[Filled, ...], tuple[Filled, ...]]):
    """Facts: the node's interfaces as they are. Value: as they are to be."""

    watches = (Pod,)
    resync_period_ns = EVERY_NS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.options = settings.of(AwsOptions)

    def start(self, node: Node, own: NodeObject) -> NodeObject:
        instance: Instance | None = node.net.programs.get(METADATA)
        if instance is None:
            raise InputError(
                f"network aws-vpc: {node.name} is no instance of a VPC", path="cluster.underlay", expected="vpc"
            )
        if IPAMD not in node.net.programs:
            primary = instance.enis[0]
            node.net.device(primary.device).set_mtu(self.options.eni_mtu)
            address = ip4_text(primary.primary)
            host_network.set_up(node.net, self.options, instance.vpc_cidrs, address, primary.device)
            ipamd = node.net.programs[IPAMD] = Ipamd(node.net, instance, self.options)
            ipamd.take_over()
            ipamd.fill(pool.plan(ipamd.filled(), self.options))
        room = self.options.allocatable_pods
        if room is None:
            return own
        return replace(own, status=replace(own.status, allocatable={**own.status.allocatable, "pods": room}))

    def view(self, objects: Objects, before: None) -> None:
        """The pods matter only as containers, which ipamd knows."""

    def facts(self, node: Node) -> tuple[Filled, ...]:
        return _ipamd(node).filled()

    def compile(self, view: None, facts: tuple[Filled, ...]) -> tuple[Filled, ...]:
        return pool.plan(facts, self.options)

    def apply(self, node: Node, value: tuple[Filled, ...]) -> bool:
        _ipamd(node).fill(value)
        return True

    def intact(self, node: Node) -> bool:
        now = self.facts(node)
        return tuple(each._replace(used=0) for each in now) == self.compile(None, now)


def _ipamd(node: Node) -> Ipamd:
    found: Ipamd = node.net.programs[IPAMD]
    return found
