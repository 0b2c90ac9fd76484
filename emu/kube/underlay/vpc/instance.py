"""An instance of the VPC, as its own programs meet it: what they ask of EC2 for it, and what the metadata service answers.

`Netns.programs[METADATA]` is it. Must not know what is done with addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from emu.errors import InputError
from emu.kernel.net.netns import Netns
from emu.kube.underlay.vpc.cloud import Cloud, Eni, Subnet
from emu.wire.addr import Prefix

METADATA = "169.254.169.254:80"
SECONDARY = 100  # the host number that the search for a free address begins with


class Ec2(Protocol):
    """What an instance asks of its cloud."""

    cloud: Cloud

    def add_interface(self, instance: Instance, number: int, subnet: Subnet, addr: int) -> Eni: ...

    def remove_interface(self, instance: Instance, eni: Eni) -> None: ...


class Instance:
    """One instance: `net` is its namespace, `index` its number among the nodes."""

    def __init__(self, ec2: Ec2, net: Netns, index: int) -> None:
        self._ec2, self.net, self.index = ec2, net, index

    @property
    def vpc_cidrs(self) -> list[Prefix]:
        return self._ec2.cloud.cidrs

    @property
    def enis(self) -> list[Eni]:
        """Its interfaces, by their device numbers."""
        return self._ec2.cloud.of(self.net.name)

    def attach(self, number: int) -> Eni | None:
        """CreateNetworkInterface and AttachNetworkInterface, in the subnet of the primary one; None where that has no
        address left."""
        subnet = self.enis[0].subnet
        free = _free(subnet, 1)
        return self._ec2.add_interface(self, number, subnet, free[0]) if free else None

    def detach(self, eni: Eni) -> None:
        self._ec2.remove_interface(self, eni)

    def assign(self, eni: Eni, count: int) -> None:
        """AssignPrivateIpAddresses: up to `count` secondary addresses, as many as the subnet has."""
        self._ec2.cloud.assign(eni, _free(eni.subnet, count))

    def assign_given(self, eni: Eni, addr: int) -> bool:
        """The same of one address (PrivateIpAddresses); False where the subnet cannot give it."""
        try:
            self._ec2.cloud.assign(eni, [addr])
        except InputError:
            return False
        return True

    def delegate(self, eni: Eni, count: int) -> None:
        """The same for /28 prefixes."""
        for _ in range(count):
            prefix = eni.subnet.free_prefix()
            if prefix is not None:
                self._ec2.cloud.delegate(eni, prefix)

    def unassign(self, eni: Eni, addresses: Sequence[int], prefixes: Sequence[Prefix]) -> None:
        self._ec2.cloud.unassign(eni, [*addresses], [*prefixes])


def _free(subnet: Subnet, count: int) -> list[int]:
    return subnet.free(min(subnet.cidr.net + SECONDARY, subnet.cidr.broadcast), count)
