"""Calico's IPAM: a pool is cut into blocks, a node claims blocks as it needs them, and gives their addresses in turn.

A node looks for its first block from a place in the pool that its name's hash chooses. Calico draws that place by Go's
generator, with this hash as the seed; here it is the hash itself, so that a node has other blocks than in Calico, by the same
rule. A freed address goes behind those that were not given yet. An address of another node's block is never borrowed.
Source: libcalico-go/lib/ipam of projectcalico/calico 1ed57381. Must not know plugins or devices.
"""

from __future__ import annotations

from collections.abc import Iterable

from emu.kube.api.calico import Allocation, IPAMBlock, IPAMBlockSpec, IPPool
from emu.kube.api.meta import ObjectMeta, replace
from emu.kube.cni.spec import failure
from emu.kube.store import Store
from emu.wire.addr import Prefix, ip4_text

_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193
MOST_BLOCKS = 20  # of one node (maxBlocksPerHost)


def assign(store: Store, pool: IPPool, node: str, handle: str) -> int:
    """Give the owner `handle` an address on `node`. Raises CniError when the pool has none."""
    own = _blocks_of(store, pool, node)
    block = next((each for each in own if each.spec.unallocated), None)
    if block is None:
        block = _claim(store, pool, node, len(own))
    ordinal, *rest = block.spec.unallocated
    given = Allocation(ordinal=ordinal, handle=handle)
    spec = replace(block.spec, allocations=(*block.spec.allocations, given), unallocated=tuple(rest))
    store.put(replace(block, spec=spec))
    return prefix_of(block).net + ordinal


def assign_given(store: Store, pool: IPPool, node: str, handle: str, wanted: int) -> int:
    """The same of one address (AssignIP): its block is claimed by the node if no node has it; one that another node has claimed lends
    it. Raises CniError when the address is taken or outside of the pool."""
    size, whole = pool.spec.block_size, prefix_of(pool)
    if wanted not in whole:
        raise failure(f"the provided IP address is not in a configured pool: {ip4_text(wanted)}")
    prefix = Prefix.parse(f"{ip4_text(wanted)}/{size}")
    block = store.get(IPAMBlock, "", _block_name(prefix)) or _new_block(store, prefix, node)
    ordinal = wanted - prefix.net
    if ordinal not in block.spec.unallocated:
        raise failure(f"Address already assigned in block: {ip4_text(wanted)}")
    rest = tuple(each for each in block.spec.unallocated if each != ordinal)
    given = Allocation(ordinal=ordinal, handle=handle)
    store.put(replace(block, spec=replace(block.spec, allocations=(*block.spec.allocations, given), unallocated=rest)))
    return wanted


def release(store: Store, handle: str) -> None:
    """Free every address of an owner."""
    for block in store.list(IPAMBlock):
        gone = [each for each in block.spec.allocations if each.handle == handle]
        if gone:
            kept = tuple(each for each in block.spec.allocations if each.handle != handle)
            free = (*block.spec.unallocated, *(each.ordinal for each in gone))
            store.put(replace(block, spec=replace(block.spec, allocations=kept, unallocated=free)))


def prefix_of(part: IPPool | IPAMBlock) -> Prefix:
    """The addresses of a pool or a block."""
    return Prefix.parse(part.spec.cidr)


def address_of(blocks: Iterable[IPAMBlock], handle: str) -> int:
    """The first address that an owner has in these blocks, 0 if it has none."""
    return next(
        (
            prefix_of(block).net + each.ordinal
            for block in blocks
            for each in block.spec.allocations
            if each.handle == handle
        ),
        0,
    )


def _owner(block: IPAMBlock) -> tuple[str]:
    return (block.node,)


def blocks_of(store: Store, node: str) -> list[IPAMBlock]:
    """The blocks that a node has claimed."""
    return store.index(IPAMBlock, _owner).of(node)


def _blocks_of(store: Store, pool: IPPool, node: str) -> list[IPAMBlock]:
    """The node's blocks of a pool, in the order of their names, as the API server lists them."""
    whole = prefix_of(pool)
    found = [each for each in blocks_of(store, node) if prefix_of(each).overlaps(whole)]
    return sorted(found, key=lambda each: each.name)


def _claim(store: Store, pool: IPPool, node: str, claimed: int) -> IPAMBlock:
    size, whole = pool.spec.block_size, prefix_of(pool)
    if claimed >= MOST_BLOCKS:
        raise failure(
            f"failed to request IPv4 addresses: Assigned 0 out of 1 requested IPv4 addresses; node {node} has {claimed} blocks"
        )
    taken = {each.spec.cidr for each in store.list(IPAMBlock)}
    number = 1 << (size - whole.length)
    start = fnv1_32(node.encode()) % number
    for step in range(number):
        prefix = Prefix(whole.net + ((start + step) % number << (32 - size)), size)
        if str(prefix) not in taken:
            return _new_block(store, prefix, node)
    raise failure(
        "failed to request IPv4 addresses: Assigned 0 out of 1 requested IPv4 addresses; No more free affine blocks and strict affinity enabled"
    )


def _block_name(prefix: Prefix) -> str:
    return str(prefix).replace(".", "-").replace("/", "-")


def _new_block(store: Store, prefix: Prefix, node: str) -> IPAMBlock:
    free = tuple(range(1 << (32 - prefix.length)))
    spec = IPAMBlockSpec(cidr=str(prefix), affinity=f"host:{node}", unallocated=free)
    return store.put(IPAMBlock(metadata=ObjectMeta(name=_block_name(prefix)), spec=spec))


def fnv1_32(data: bytes) -> int:
    """FNV-1 of 32 bits (Go's hash/fnv New32)."""
    value = _FNV_OFFSET
    for octet in data:
        value = value * _FNV_PRIME % (1 << 32) ^ octet
    return value
