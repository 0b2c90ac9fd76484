"""DEL leaves a machine as it was before ADD, for every CNI plugin and every pod network that the registries find.

What the real plugins leave behind is declared beside each plugin (`leaves`): a pattern of the lines that may be new, and why.
A second ADD and DEL leave nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

import pytest

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.bridge import Bridge
from emu.kernel.net.netns import Netns
from emu.kernel.sysctl_table import Value
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.leaves import leaves_of
from emu.kube.cni.runtime import Runtime
from emu.kube.cni.spec import Attachment, Config, Host, plugins
from emu.kube.networks.network import networks
from emu.kube.underlay.underlay import underlays
from emu.twin import tables
from emu.wire.addr import mac_text

IPAM: Config = {"type": "host-local", "subnet": "10.244.1.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
STATIC: Config = {"type": "static", "addresses": [{"address": "10.6.0.5/24", "gateway": "10.6.0.1"}]}
BRIDGE: Config = {"type": "bridge", "isGateway": True, "ipam": IPAM}
MAPPINGS = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
# The lists that put each plugin to work. A plugin that is not here is in the list of a network, which brings its agent.
CHAINS: Mapping[str, list[Config]] = {
    "bridge": [BRIDGE],
    "bridge, masquerade": [{**BRIDGE, "ipMasq": True}],
    "bridge, vlan": [{**BRIDGE, "vlan": 5, "macspoofchk": True}],
    "bridge, trunk, layer 2": [{"type": "bridge", "vlanTrunk": [{"minID": 2, "maxID": 9}], "promiscMode": True}],
    "host-local": [{"type": "ptp", "ipam": IPAM}],
    "static": [{"type": "ptp", "ipam": STATIC}],
    "ptp": [{"type": "ptp", "ipMasq": True, "ipam": IPAM}],
    "loopback": [{"type": "loopback"}],
    "dummy": [{"type": "dummy", "ipam": IPAM}],
    "host-device": [{"type": "host-device", "device": "eth1", "ipam": IPAM}],
    "vlan": [{"type": "vlan", "master": "eth0", "vlanId": 5, "ipam": IPAM}],
    "macvlan": [{"type": "macvlan", "master": "eth0", "ipam": IPAM}],
    "macvlan, passthru": [{"type": "macvlan", "master": "eth1", "mode": "passthru", "ipam": IPAM}],
    "ipvlan": [{"type": "ipvlan", "master": "eth0", "mode": "l3s", "ipam": IPAM}],
    "portmap": [BRIDGE, {"type": "portmap", "runtimeConfig": {"portMappings": MAPPINGS}}],
    "firewall": [BRIDGE, {"type": "firewall", "backend": "iptables"}],
    "firewall, same-bridge": [BRIDGE, {"type": "firewall", "backend": "iptables", "ingressPolicy": "same-bridge"}],
    "tuning": [BRIDGE, {"type": "tuning", "mtu": 1300, "mac": "02:00:00:00:00:77", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}],
    "sbr": [BRIDGE, {"type": "sbr"}],
    "vrf": [BRIDGE, {"type": "vrf", "vrfname": "red"}],
    "bandwidth": [BRIDGE, {"type": "bandwidth", "ingressRate": 10**6, "ingressBurst": 10**6, "egressRate": 10**6, "egressBurst": 10**6}],
}  # fmt: skip


def snapshot(net: Netns) -> set[str]:
    """Everything of a namespace that a plugin can change, a line each."""
    return {*_devices(net), *_network(net), *_rules(net)}


def _devices(net: Netns) -> Iterator[str]:
    for device in net.devices.values():
        flags = (("up", device.up), ("carrier", device.carrier), ("promisc", device.promisc))
        words = " ".join(word for word, on in flags if on)
        yield f"link {device.name} {device.kind} mtu {device.mtu} mac {mac_text(device.mac)} {words}"
        if device.rx_handler is not None or device.l3_rcv is not None or device.vlans or device.uppers:
            yield f"taken {device.name}"
        if isinstance(device, Bridge):
            for port in device.ports:
                yield f"port {port.device.name} of {device.name} {list(port.vlans.lines())}"
            for entry in device.fdb.values():
                place = "itself" if entry.port is None else entry.port.device.name
                yield f"fdb {device.name} {mac_text(entry.mac)} vlan {entry.vid} {place}"
    for what in (tables.emulated_qdiscs(net), tables.emulated_vlans(net)):
        for line in what:
            yield f"link {line}"


def _network(net: Netns) -> Iterator[str]:
    for address in net.addresses:
        yield f"address {address} dev {address.device.name}"
    for number, table in net.ipv4.fib.tables.items():
        for route in table:
            yield f"route {route.text()} table {number}"
    for rule in net.ipv4.fib.rules:
        yield f"rule {rule.text()}"
    for entry in net.neighbours:
        yield f"neighbour {entry.addr} dev {entry.device.name} {entry.state}"


def _rules(net: Netns) -> Iterator[str]:
    written: dict[str, Value] = dict(net.sysctl.written())
    for name, value in written.items():
        yield f"sysctl {name} = {value}"
    table = ""
    for line in net.ipv4.tables.save().splitlines():
        table = line[1:] if line.startswith("*") else table
        if line.startswith(("-A", ":")) and not re.fullmatch(r":\S+ ACCEPT .*", line):
            yield f"iptables {table} {line}"
    sources = net.bridge_hooks.sources
    for line in [] if sources is None else sources.lines():
        yield f"nftables {line}"


def leaves(config: NetworkConfigList) -> dict[str, str]:
    """What the plugins of a list declare."""
    found: dict[str, str] = {}
    for each in config.plugins:
        for kind in kinds_in(each):
            found |= leaves_of(plugins[kind](), each)
    return found


def undeclared(lines: Iterable[str], declared: Mapping[str, str]) -> list[str]:
    return sorted(line for line in lines if not any(re.fullmatch(pattern, line) for pattern in declared))


def kinds_in(plugin: Config) -> list[str]:
    """A plugin, and the one for addresses that it calls."""
    ipam = (plugin.get("ipam") or {}).get("type")
    return [str(plugin["type"]), *([str(ipam)] if ipam else [])]


def kinds_of(config: NetworkConfigList) -> set[str]:
    return {kind for each in config.plugins for kind in kinds_in(each)}


# -- plugins ----------------------------------------------------------------------------------------------------------


class Machine:
    """A node with two NICs, each on a cable, and its runtime."""

    def __init__(self) -> None:
        self.clock = Clock(1)
        self.node = boot.namespace(self.clock, "node")
        self.host, self.runtime = Host(self.node), Runtime()
        lan = boot.namespace(self.clock, "lan")
        for number in range(2):
            macs = (f"02:00:00:00:0{number}:0a", f"02:00:00:00:0{number}:0b")
            boot.veth(self.node, f"eth{number}", lan, f"eth{number}", *macs)
        for number in range(2):
            boot.address(self.node, f"eth{number}", f"192.168.{number}.1/24")
        boot.route(self.node, "default via 192.168.0.254")
        boot.netfilter(self.node)

    def cycle(self, network: NetworkConfigList, name: str) -> tuple[set[str], set[str], set[str]]:
        """The node before ADD, after it, and after DEL; the container is as it was, too."""
        pod = self.pod = boot.namespace(self.clock, name)
        attachment = Attachment(name, pod, "eth0", self.host)
        empty, before = snapshot(pod), snapshot(self.node)
        self.empty = empty
        self.runtime.add(network, attachment, {})
        self.clock.drain()
        there = snapshot(self.node)
        self.runtime.delete(network, attachment)
        self.clock.drain()
        assert undeclared(snapshot(pod) ^ empty, leaves(network)) == []
        return before, there, snapshot(self.node)


def network_of(name: str) -> NetworkConfigList:
    return NetworkConfigList.from_json({"cniVersion": "1.0.0", "name": "net", "plugins": CHAINS[name]})


def test_every_plugin_is_put_to_work() -> None:
    """By a list here, or by that of a network."""
    listed = {kind for name in CHAINS for kind in kinds_of(network_of(name))}
    brought = {kind for _, made in every_network() for each in made for kind in kinds_of(config_of(each))}
    assert sorted({*plugins} - listed - brought) == []


@pytest.mark.parametrize("name", CHAINS)
def test_del_leaves_the_node_as_it_was(name: str) -> None:
    network, machine = network_of(name), Machine()
    before, there, after = machine.cycle(network, "pod0")
    assert there != before or name in ("loopback", "dummy"), "the plugin did something"
    declared = leaves(network)
    assert undeclared(after - before, declared) == []
    assert undeclared(before - after, declared) == []


@pytest.mark.parametrize("name", CHAINS)
def test_nothing_more_stays_the_second_time(name: str) -> None:
    network, machine = network_of(name), Machine()
    machine.cycle(network, "pod0")
    before, _, after = machine.cycle(network, "pod1")
    assert after == before


def test_a_declaration_is_of_something_that_stays() -> None:
    """Each reason holds for a line that some list leaves, on the node or in the container."""
    reasons: dict[str, bool] = {}
    for name in CHAINS:
        network, machine = network_of(name), Machine()
        before, _, after = machine.cycle(network, "pod0")
        left = (after ^ before) | (snapshot(machine.pod) ^ machine.empty)
        for pattern, reason in leaves(network).items():
            reasons[reason] = reasons.get(reason, False) or any(re.fullmatch(pattern, line) for line in left)
    assert [reason for reason, held in reasons.items() if not held] == []


# -- networks ---------------------------------------------------------------------------------------------------------

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, annotations: {{emu/terminate: at-once}}}}
spec: {{nodeName: {node}, containers: [{{name: c, ports: [{{containerPort: 80, hostPort: 8080}}]}}]}}
"""


def every_network() -> Iterator[tuple[str, list[Cluster]]]:
    for name in sorted(networks):
        yield name, [*clusters(name)]


def clusters(name: str) -> Iterator[Cluster]:
    """A cluster without pods on each underlay that the network can use."""
    for underlay in sorted(underlays):
        with suppress(InputError):
            yield Cluster(ClusterConfig.of(2, network=name, underlay=underlay), [], capture=False)


def config_of(made: Cluster) -> NetworkConfigList:
    return made.kubelets[0].network.config


def with_pods(made: Cluster, names: Mapping[str, str]) -> dict[str, set[str]]:
    """Pods on the nodes, which are deleted then, and gone. Gives the nodes while they ran."""
    for obj in load_text("---".join(POD.format(name=name, node=node) for name, node in names.items())).objects:
        made.apply(obj)
    running = {node: snapshot(each.net) for node, each in made.nodes.items()}
    for name in names:
        made.delete("Pod", "default", name, grace_s=0)
    made.wait(5)
    return running


@pytest.mark.parametrize("name", sorted(networks))
def test_a_network_leaves_its_nodes_as_they_were(name: str) -> None:
    found = [*clusters(name)]
    assert found
    for made in found:
        names = {"a": "node-1", "b": "node-1", "c": "node-2"}
        first = {node: snapshot(each.net) for node, each in made.nodes.items()}
        running = with_pods(made, names)
        assert all(running[node] != first[node] for node in first), "there were pods"
        declared = leaves(config_of(made))
        second = {node: snapshot(each.net) for node, each in made.nodes.items()}
        for node, before in first.items():
            assert undeclared(second[node] - before, declared) == [], node
            assert undeclared(before - second[node], declared) == [], node
        with_pods(made, {"d": "node-1", "e": "node-2"})
        assert {node: snapshot(each.net) for node, each in made.nodes.items()} == second
