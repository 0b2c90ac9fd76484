"""What flanneld and kindnetd do to a node, done once more by `ip`, `bridge` and `iptables` from the Node objects alone: the kernel ends as
the emulator's node does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from emu.kube.api.core import Node
from emu.kube.cluster import Cluster
from emu.scenario.build import build
from emu.scenario.script import load_text
from emu.twin import tables
from emu.twin.space import Space
from flannel_by_hand import KINDNET_RULES, Backend, flannel_rules, route_others, tunnel
from twins import needs_twin
from wired_cluster import iptables

pytestmark = needs_twin

PREFIX = "flannel.alpha.coreos.com/"
NODES = "---\n".join(
    f"{{apiVersion: v1, kind: Node, metadata: {{name: node-{number}}}, spec: {{podCIDR: 10.244.{number}.0/24}}}}\n"
    for number in (1, 2, 3)
)
BACKENDS = {
    "vxlan": ("flannel", "routed", "{Backend: {Type: vxlan}}"),
    "vxlan on one link": ("flannel", "switched", "{}"),
    "vxlan, another VNI, port and MTU": (
        "flannel",
        "routed",
        "{Backend: {VNI: 7, Port: 4789, MTU: 1400, Learning: true}}",
    ),
    "DirectRouting": ("flannel", "switched", "{Backend: {Type: vxlan, DirectRouting: true}}"),
    "DirectRouting over a router": ("flannel", "routed", "{Backend: {Type: vxlan, DirectRouting: true}}"),
    "host-gw": ("flannel", "switched", "{Backend: {Type: host-gw}}"),
    "host-gw over a router": ("flannel", "routed", "{Backend: {Type: host-gw}}"),
    "kindnet": ("kindnet", "switched", ""),
}


@pytest.fixture
def space() -> Iterator[Space]:
    made = Space("node-1")
    with made.inside():
        for key in ("all", "default"):
            with suppress(OSError):
                Path(f"/proc/sys/net/ipv6/conf/{key}/disable_ipv6").write_text("1")
    yield made
    made.close()


def cluster_of(name: str) -> Cluster:
    network, underlay, options = BACKENDS[name]
    own = f", flannel: {options}" if options else ""
    head = f"apiVersion: emu/v1\nkind: Scenario\ncluster: {{network: {network}, underlay: {underlay}{own}}}\n---\n"
    return build(load_text(head + NODES))


def shown(text: str) -> list[str]:
    """The rules that the agents write."""
    return [line for line in tables.rules(text) if "FLANNEL" in line or "KIND-MASQ" in line]


def ours(net_lines: list[str]) -> list[str]:
    return sorted(line for line in net_lines if "10.244." in line or "flannel." in line)


def wire(space: Space, name: str, nodes: list[Node]) -> None:
    """By the words of flannel's and kind's sources, on a machine that has eth0 and a default route."""
    network, underlay, options = BACKENDS[name]
    one = underlay == "switched"
    own, *others = nodes
    address = own.status.addresses[0].address
    gateway = f"{address.rpartition('.')[0]}.1"
    begun = (
        "link add name eth0 type veth peer name far",
        "link set dev far up",
        f"addr add {address}/24 dev eth0",
        "link set dev eth0 up",
        f"route add default via {gateway} dev eth0",
    )
    space.ip([line.split() for line in begun])
    iptables(space, flannel_rules(own.spec.pod_cidr) if network == "flannel" else KINDNET_RULES)
    direct = "host-gw" in options or network == "kindnet" or ("DirectRouting" in options and one)
    backend = Backend(7, 4789, 1350, "Learning" in options) if "VNI: 7" in options else Backend(1, 8472, 1450)
    if direct:
        route_others(space, {each.spec.pod_cidr: each.status.addresses[0].address for each in others})
    if network == "flannel" and "host-gw" not in options:
        data = json.loads(own.metadata.annotations[f"{PREFIX}backend-data"])
        assert data["VNI"] == backend.vni
        peers = {}
        for node in others if not direct else ():
            at = node.status.addresses[0].address
            assert node.metadata.annotations[f"{PREFIX}public-ip"] == at
            vtep = json.loads(node.metadata.annotations[f"{PREFIX}backend-data"])["VtepMAC"]
            peers[node.spec.pod_cidr] = at, vtep
        tunnel(space, backend, address, own.spec.pod_cidr, data["VtepMAC"], peers)


@pytest.mark.parametrize("name", BACKENDS)
def test_the_node_is_as_the_kernels(name: str, space: Space) -> None:
    cluster = cluster_of(name)
    node = cluster.nodes["node-1"]
    wire(space, name, cluster.store.list(Node))
    setup, own = tables.kernel_setup(space), tables.emulated_setup(node.net)
    for what in ("links", "addresses"):
        assert ours(own[what]) == ours(setup[what])
    kernel, emulated = tables.kernel_tables(space, node.net), tables.emulated_tables(node.net)
    for what in ("routes", "neighbours", "fdb"):
        assert ours(emulated.get(what, [])) == ours(kernel.get(what, [])), what
    assert shown(node.net.ipv4.tables.save()) == shown(space.run("iptables-save"))
    if "over a router" not in name or "Direct" in name:
        assert any("10.244.3.0/24" in line for line in emulated["routes"])
    else:
        assert not any("10.244.3.0/24" in line for line in emulated["routes"]), "no gateway on the link"
