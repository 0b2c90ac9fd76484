"""What emu wires on a node with Calico is what the same objects give when it is wired by hand in this machine's kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from calico_by_hand import DUMP, NodeFacts, Pool, addresses, host_device, unhashed, wire
from emu.kernel.net.netns import Netns
from emu.kube.cluster import Cluster
from emu.scenario.build import build
from emu.scenario.script import load_text
from emu.twin import tables
from emu.twin.space import Space
from emu.wire.addr import ip4_text, mac_text
from twins import needs_twin, scenario

pytestmark = needs_twin
PODS = {"node-1": ("default/client", "default/b", "blue/b"), "node-2": ("default/web", "default/c")}
CLUSTERS = {
    "no encapsulation": ("underlay: switched, calico: {vxlanMode: Never}", "Never"),
    "vxlan": ("calico: {vxlanMode: Always}", "Always"),
    "cross subnet, on one link": ("underlay: switched", "CrossSubnet"),
    "cross subnet, routed": ("underlay: routed", "CrossSubnet"),
    "no masquerade, small blocks": ("calico: {natOutgoing: false, blockSize: 29}", "CrossSubnet"),
}
SYSCTLS = (
    "conf.{}.proxy_arp",
    "conf.{}.route_localnet",
    "conf.{}.forwarding",
    "conf.{}.rp_filter",
    "neigh.{}.proxy_delay",
)


def manifests() -> str:
    return "".join(
        f"---\napiVersion: v1\nkind: Pod\nmetadata: {{namespace: {space}, name: {name}}}\n"
        f"spec: {{nodeName: {node}, containers: [{{name: c}}]}}\n"
        for node, pods in PODS.items()
        for space, _, name in (pod.partition("/") for pod in pods)
    ).removeprefix("---\n")


def built(words: str) -> Cluster:
    return build(
        load_text(scenario("- wait: 1s", cluster=f"{{nodes: 2, network: calico, {words}}}", pods="\n" + manifests()))
    )


def facts(cluster: Cluster) -> Iterator[NodeFacts]:
    """What the hand is given of each node: what a machine has before Calico comes."""
    for node in cluster.nodes.values():
        eth0 = node.net.device("eth0")
        own = next(each for each in node.net.ipv4.addresses if each.device is eth0)
        default = next(route for route in node.net.ipv4.fib.main if not route.prefix.length)
        yield NodeFacts(node.name, str(own), ip4_text(default.gateway), mac_text(eth0.mac))


def of_kernel(space: Space, devices: tuple[str, ...]) -> dict[str, list[str]]:
    setup = tables.kernel_setup(space)
    routes = [" ".join(line.split()) for line in space.run("ip", "-4", "route", "show", "table", "main").splitlines()]
    with space.inside():
        values = [
            f"{name} {Path('/proc/sys/net/ipv4', *name.split('.')).read_text(encoding='ascii').strip()}"
            for device in devices
            for name in (each.format(device) for each in SYSCTLS)
        ]
    return {
        "links": [_anonymous(line) for line in setup["links"]],
        "addresses": list(setup["addresses"]),
        "routes": sorted(_stateless(line) for line in routes),
        "neighbours": sorted(
            " ".join(line.split()[:5])
            for line in space.run("ip", "-4", "neigh", "show", "nud", "permanent").splitlines()
        ),
        "fdb": sorted(tables._kernel_fdb(space)),
        "sets": _members(space.run("ipset", "save")),
        "rules": unhashed(space.run("iptables-save")),
        "sysctls": values,
    }


def of_emulated(net: Netns, devices: tuple[str, ...]) -> dict[str, list[str]]:
    setup = tables.emulated_setup(net)
    return {
        "links": [_anonymous(line) for line in setup["links"]],
        "addresses": list(setup["addresses"]),
        "routes": sorted(route.text() for route in net.ipv4.fib.main),
        "neighbours": sorted(
            f"{ip4_text(each.addr)} dev {each.device.name} lladdr {mac_text(each.lladdr)}"
            for each in net.neighbours
            if each.state == "PERMANENT"
        ),
        "fdb": sorted(tables._fdb(net)),
        "sets": _members(net.ipv4.tables.ipsets.save()),
        "rules": unhashed(net.ipv4.tables.save()),
        "sysctls": [
            f"{name} {net.sysctl.number('net.ipv4.' + name)}"
            for device in devices
            for name in (each.format(device) for each in SYSCTLS)
        ],
    }


def _anonymous(line: str) -> str:
    """Without the MAC of a container's end, which is drawn."""
    words = line.split()
    if words[0] == "eth0" and words[words.index("mtu") + 1] != "0":
        words[words.index("address") + 1] = "-"
    return " ".join(words)


def _stateless(line: str) -> str:
    return line.replace(" linkdown", "")


def _members(text: str) -> list[str]:
    """Names, types and members: the other words of `create` are what each side's tool prints."""
    return sorted(" ".join(line.split()[:3]) for line in text.splitlines())


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_hand_wires_the_same(name: str) -> None:
    words, mode = CLUSTERS[name]
    cluster = built(words)
    small = "blockSize: 29" in words
    pool = Pool("10.244.0.0/16", mode, 29 if small else 26, masquerades=not small)
    nodes, pods = list(facts(cluster)), dict[str, tuple[str, ...]](PODS)
    given = addresses(pool, nodes, pods)
    for own in nodes:
        with ExitStack() as stack:
            host, spaces = wire(stack, own, nodes, pool, pods)
            net = cluster.nodes[own.name].net
            devices = tuple(map(host_device, pods[own.name]))
            ours, theirs = of_emulated(net, devices), of_kernel(host, devices)
            for side, lines in ours.items():
                assert lines == theirs[side]
            for pod, space in spaces.items():
                inside = cluster.pods[pod].net
                assert [str(each) for each in inside.addresses if each.device.name == "eth0"] == [f"{given[pod]}/32"]
                for side in ("links", "addresses", "routes"):
                    assert of_emulated(inside, ())[side] == of_kernel(space, ())[side]


def test_emu_writes_the_lines_of_the_real_nodes_dump() -> None:
    """With felix's own hashes. Only the last rule of a dispatch chain has another one: a node with pods has rules before it."""
    cluster = built("calico: {vxlanMode: Always}")
    ours = cluster.nodes["node-1"].net.ipv4.tables.save().splitlines()
    missing = [line for line in DUMP.read_text(encoding="utf-8").splitlines() if line[:2] == "-A" and line not in ours]
    assert [line.split()[1] for line in missing] == ["cali-from-wl-dispatch", "cali-to-wl-dispatch"]
