"""An instance of the VPC, as its own programs meet it: what they ask of EC2 for it, and what the metadata service answers.

`Netns.programs[METADATA]` is it. Must not know what is done with addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from emu.kernel.net.netns import Netns
from emu.kube.underlay.vpc.cloud import Cloud, Eni, Subnet
from emu.wire.addr import Prefix

METADATA = "169.254.169.254:80"
SECONDARY = 100  # the host number that the search for a free address begins with


class Ec2(Protocol):
    """What an instance asks of its cloud."""

    cloud: Cloud

    def attach(self, instance: Instance, number: int, addr: int) -> Eni: ...

    def detach(self, instance: Instance, eni: Eni) -> None: ...


class Instance:
    """One instance: `net` is its namespace, `primary` its first interface."""

    primary: Eni

    def __init__(self, ec2: Ec2, net: Netns, index: int, subnet: Subnet) -> None:
        self._ec2, self.net, self.index, self.subnet = ec2, net, index, subnet

    @property
    def vpc_cidr(self) -> Prefix:
        return self._ec2.cloud.cidr

    @property
    def enis(self) -> list[Eni]:
        """Its interfaces, by their device numbers."""
        found = [eni for eni in self._ec2.cloud.enis.values() if eni.instance == self.net.name]
        return sorted(found, key=lambda eni: eni.number)

    def attach(self, number: int) -> Eni | None:
        """CreateNetworkInterface and AttachNetworkInterface; None where the subnet has no address left."""
        addr = next(self.subnet.free(self.subnet.cidr.net + SECONDARY), None)
        return None if addr is None else self._ec2.attach(self, number, addr)

    def detach(self, eni: Eni) -> None:
        self._ec2.detach(self, eni)

    def assign(self, eni: Eni, count: int) -> None:
        """AssignPrivateIpAddresses: up to `count` secondary addresses, as many as the subnet has."""
        free = self.subnet.free(self.subnet.cidr.net + SECONDARY)
        self._ec2.cloud.assign(eni, [addr for _, addr in zip(range(count), free, strict=False)])

    def delegate(self, eni: Eni, count: int) -> None:
        """The same for /28 prefixes."""
        for _ in range(count):
            prefix = self.subnet.free_prefix()
            if prefix is not None:
                self._ec2.cloud.delegate(eni, prefix)

    def unassign(self, eni: Eni, addresses: Sequence[int], prefixes: Sequence[Prefix]) -> None:
        self._ec2.cloud.unassign(eni, [*addresses], [*prefixes])
