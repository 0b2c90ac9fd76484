"""The dumps of a cluster's nodes take over: all are read, then each node's interfaces get their names, then each table is replaced.

Must not know how a table is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from emu.errors import InputError
from emu.kube.api.core import Node as NodeObject
from emu.kube.api.core import Pod
from emu.kube.api.meta import Object
from emu.kube.dumped.connections import connections
from emu.kube.dumped.devices import join
from emu.kube.dumped.difference import Difference
from emu.kube.dumped.dump import read_dump
from emu.kube.dumped.links import learn_macs, links
from emu.kube.dumped.neighbours import fdb, learn, neighbours
from emu.kube.dumped.routes import ip_rules, routes
from emu.kube.dumped.rules import rules
from emu.kube.dumped.site import Site
from emu.kube.dumped.sysctls import sysctls
from emu.kube.node.node import Node, Sandbox
from emu.modelled import Finding, nearest
from emu.pasted.node_texts import NodeTexts
from emu.wire.addr import Prefix, ip4

BACKEND_DATA = "flannel.alpha.coreos.com/backend-data"
MOST = 5  # differences of one kind on one node that are written one by one


def apply(
    dumps: Mapping[str, NodeTexts],
    nodes: Mapping[str, Node],
    pods: Mapping[str, Sandbox],
    pod_subnet: Prefix,
    given: Sequence[Object],
    leave: Callable[[Iterable[str]], None],
) -> tuple[list[Difference], list[Finding]]:
    """As `take_over` of the package states."""
    for name, texts in dumps.items():
        if name not in nodes:
            near = nearest(name, nodes)
            raise InputError(
                f"there is no node {name!r} to take a dump for",
                file=texts.source,
                expected=near or ", ".join([*nodes][:5]),
            )
    leave(dumps)
    macs: dict[bytes, bytes] = {}
    stated, tunnels = _addresses(given), _tunnels(given)
    sites = [
        Site(nodes[name], read_dump(texts), nodes, pods, pod_subnet, macs, stated, tunnels)
        for name, texts in dumps.items()
    ]
    for site in sites:
        join(site)
        site.routes = tuple(route for table in site.net.ipv4.fib.tables.values() for route in table)
        learn_macs(site)
    for site in sites:
        learn(site)
    for site in sites:
        for step in (links, rules, routes, ip_rules, sysctls, neighbours, fdb, connections):
            step(site)
    differences = [each for site in sites for each in site.differences]
    notes = [text for site in sites for text in (*site.dump.notes, *site.notes)]
    return differences, [*(Finding("", "", each, "assumed") for each in notes), *_findings(differences)]


def _findings(differences: Iterable[Difference]) -> list[Finding]:
    """Each difference; of very many of one kind on one node the rest is counted."""
    found: list[Finding] = []
    count: dict[tuple[str, str], int] = {}
    for each in differences:
        key = each.node, each.id
        count[key] = count.get(key, 0) + 1
        if count[key] <= MOST:
            found.append(each.finding)
    found += [
        Finding("", f"node/{node}", f"{number - MOST} more [{id}]", id)
        for (node, id), number in count.items()
        if number > MOST
    ]
    return found


def _addresses(given: Sequence[Object]) -> frozenset[int]:
    """Every IPv4 address that a pod or node of the objects has."""
    found = {each.status.pod_ip for each in given if isinstance(each, Pod) and not each.finished}
    found |= {address.address for each in given if isinstance(each, NodeObject) for address in each.status.addresses}
    return frozenset(number for each in found if (number := _number(each)))


def _number(text: str) -> int:
    """An IPv4 address as a number, 0 for what is none."""
    try:
        return ip4(text)
    except InputError:
        return 0


def _tunnels(given: Sequence[Object]) -> frozenset[str]:
    """The nodes whose object states the MAC of their tunnel's end, as flanneld writes it."""
    return frozenset(
        each.name
        for each in given
        if isinstance(each, NodeObject) and "VtepMAC" in each.metadata.annotations.get(BACKEND_DATA, "")
    )
