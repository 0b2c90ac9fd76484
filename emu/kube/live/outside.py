"""Endpoints of a cluster's Services that are neither pods nor nodes: API servers of a cloud, databases. Each is a host outside.

Pure. Must not know how a host is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from emu.kube.api.core import Node, Pod
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.meta import Object
from emu.kube.live.subnets import address
from emu.kube.plan import HostConfig
from emu.kube.underlay.shape import LanSettings, NicSettings
from emu.wire.addr import Prefix, ip4_text

Listening = dict[int, set[tuple[int, str]]]


def strangers(objects: Iterable[Object], inside: Sequence[Prefix]) -> tuple[Listening, list[str]]:
    """The ports by address, and the Services that have them. An address `inside` a subnet of pods, or one of a pod that is gone, is no
    host."""
    objects = list(objects)
    known = {address(each.status.pod_ip) for each in objects if isinstance(each, Pod)}
    known |= {address(a.address) for each in objects if isinstance(each, Node) for a in each.status.addresses}
    found: Listening = {}
    services: dict[str, None] = {}
    for slice in objects:
        if isinstance(slice, EndpointSlice) and slice.address_type == "IPv4":
            for text in (text for each in slice.endpoints if each.target_ref is None for text in each.addresses):
                addr = address(text)
                if (
                    addr
                    and addr not in known
                    and addr >> 24 not in (0, 127)
                    and not any(addr in each for each in inside)
                ):
                    found.setdefault(addr, set()).update((p.port, p.protocol) for p in slice.ports if p.port)
                    services[f"{slice.namespace}/{slice.service_name or slice.name}"] = None
    return found, list(services)


def hosts(found: Listening, lans: Sequence[LanSettings]) -> tuple[list[HostConfig], list[LanSettings]]:
    """The hosts, and LANs for those that are in none of these: a /24 each."""
    subnets = [Prefix.parse(each.subnet) for each in lans]
    more: dict[Prefix, list[int]] = {}
    for addr in found:
        if not any(addr in each for each in subnets):
            more.setdefault(Prefix(addr & 0xFFFFFF00, 24), []).append(addr)
    made = []
    for prefix, addresses in more.items():
        if not any(prefix.overlaps(each) for each in subnets):
            free = next(each for each in range(prefix.net + 1, prefix.broadcast) if each not in addresses)
            made.append(LanSettings(f"outside-{ip4_text(prefix.net)}", str(prefix), ip4_text(free)))
    reachable = [*subnets, *(Prefix.parse(each.subnet) for each in made)]
    return [
        HostConfig(
            f"endpoint-{ip4_text(addr).replace('.', '-')}",
            NicSettings(address=ip4_text(addr)),
            tuple(f"echo@{port}/{protocol.lower()}" for port, protocol in sorted(ports) if protocol != "SCTP"),
        )
        for addr, ports in found.items()
        if any(addr in each and addr not in (each.net, each.broadcast) for each in reachable)
    ], made
