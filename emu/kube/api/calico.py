"""Calico's own objects, crd.projectcalico.org/v1: the pool of pods' addresses, and the blocks of it that nodes have claimed.

No manifest brings them: the network `calico` makes the pool, its IPAM the blocks. Must not know how addresses are chosen.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from emu.kube.api.meta import ApiStruct, Object

API_VERSION = "crd.projectcalico.org/v1"
Encapsulation = Literal["Always", "CrossSubnet", "Never"]


class IPPoolSpec(ApiStruct, frozen=True):
    """CrossSubnet encapsulates between nodes of different subnets alone."""

    cidr: str = ""
    block_size: int = 26
    ipip_mode: Encapsulation = "Never"
    vxlan_mode: Encapsulation = "Never"
    nat_outgoing: bool = False


class IPPool(Object, frozen=True, kw_only=True):
    namespaced: ClassVar[bool] = False
    api_version: str = API_VERSION
    kind: str = "IPPool"
    spec: IPPoolSpec = IPPoolSpec()


class Allocation(ApiStruct, frozen=True):
    """An address of a block, by its number in it, and whose it is."""

    ordinal: int
    handle: str


class IPAMBlockSpec(ApiStruct, frozen=True):
    """`affinity` is "host:NODE". `unallocated` are the numbers of free addresses, in the order in which they will be given."""

    cidr: str = ""
    affinity: str = ""
    allocations: tuple[Allocation, ...] = ()
    unallocated: tuple[int, ...] = ()


class IPAMBlock(Object, frozen=True, kw_only=True):
    namespaced: ClassVar[bool] = False
    api_version: str = API_VERSION
    kind: str = "IPAMBlock"
    spec: IPAMBlockSpec = IPAMBlockSpec()

    @property
    def node(self) -> str:
        """The node that has claimed it."""
        return self.spec.affinity.removeprefix("host:")
