"""How many network interfaces a type of instance has, and how many private IPv4 addresses each.

Source: "Maximum IP addresses per network interface" of the Amazon EC2 instance types guide; amazon-vpc-cni-k8s has the same
table in pkg/vpc/vpc_ip_resource_limit.go. Only some common types are here. Must not know addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from emu.errors import InputError
from emu.modelled import nearest

PREFIX_SIZE = 16  # the addresses of a delegated /28
HOST_PODS = 2  # aws-node and kube-proxy, which have the node's own network


class Limits(NamedTuple):
    """`enis` interfaces with `ips` addresses each, the primary one among them."""

    enis: int
    ips: int

    @property
    def slots(self) -> int:
        """What pods can have of an interface: an address, or a prefix, in each slot but the first."""
        return self.ips - 1

    def max_pods(self, *, prefixes: bool = False) -> int:
        """The number that AWS's guides compute for kubelet's --max-pods."""
        return self.enis * self.slots * (PREFIX_SIZE if prefixes else 1) + HOST_PODS


INSTANCE_TYPES: Mapping[str, Limits] = {
    "t3.nano": Limits(2, 2),
    "t3.micro": Limits(2, 2),
    "t3.small": Limits(3, 4),
    "t3.medium": Limits(3, 6),
    "t3.large": Limits(3, 12),
    "t3.xlarge": Limits(4, 15),
    "m4.large": Limits(2, 10),
    "m4.4xlarge": Limits(8, 30),
    "m5.large": Limits(3, 10),
    "m5.xlarge": Limits(4, 15),
    "m5.2xlarge": Limits(4, 15),
    "m5.4xlarge": Limits(8, 30),
    "c5.large": Limits(3, 10),
    "c5.xlarge": Limits(4, 15),
    "r5.large": Limits(3, 10),
}


def limits_of(instance_type: str) -> Limits:
    """Raises InputError for a type that is not in the table."""
    if instance_type not in INSTANCE_TYPES:
        near = nearest(instance_type, INSTANCE_TYPES)
        raise InputError(
            f'"{instance_type}" is no type of instance that emu knows', expected=near or ", ".join(INSTANCE_TYPES)
        )
    return INSTANCE_TYPES[instance_type]
