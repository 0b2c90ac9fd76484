"""The built-in networks: their configuration lists, who answers whose ARP in `flat`, and what leaves masqueraded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.clock import SECOND, Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kube.cni.runtime import Runtime
from emu.kube.cni.spec import Attachment, Host
from emu.kube.networks import host_gw, ip_masq_agent
from emu.kube.networks.network import Network, load_network, networks
from emu.wire.addr import Prefix, ip4

PODS = Prefix.parse("10.244.0.0/16")
FIRST, SECOND_NODE = Prefix.parse("10.244.1.0/24"), Prefix.parse("10.244.2.0/24")


class Node:
    """A node of two on one cable, with as many pods as asked for."""

    def __init__(self, clock: Clock, number: int, network: str) -> None:
        self.net = boot.namespace(clock, f"node-{number}")
        self.host, self.runtime = Host(self.net), Runtime()
        self.network = load_network(network, Prefix(ip4(f"10.244.{number}.0"), 24), PODS)
        self.network.prepare(self.host)
        self.pods: list[Netns] = []

    def pod(self) -> Netns:
        pod = boot.namespace(self.net.clock, f"{self.net.name}-pod{len(self.pods)}")
        self.runtime.set_up(self.network.config, Attachment(f"c{len(self.pods)}", pod, "eth0", self.host))
        self.pods.append(pod)
        return pod


def two_nodes(network: str) -> tuple[Node, Node]:
    clock = Clock(3)
    one, two = Node(clock, 1, network), Node(clock, 2, network)
    boot.veth(one.net, "eth0", two.net, "eth0", "02:00:00:00:00:01", "02:00:00:00:00:02")
    for here, there in ((1, 2), (2, 1)):
        net = (one, two)[here - 1].net
        boot.address(net, "eth0", f"192.168.9.{here}/24")
        boot.route(net, f"10.244.{there}.0/24 via 192.168.9.{there}")
    return one, two


def ping(source: Netns, target: str) -> int:
    """The TTL of the answer; 0 for none."""
    socket = source.sockets.ping()
    socket.send(target, 1)
    source.clock.run(limit_ns=source.clock.now + 3 * SECOND)
    return socket.replies[0].ttl if socket.replies else 0


def routes(net: Netns) -> list[str]:
    return [route.text() for route in net.ipv4.fib.main]


def test_bridge() -> None:
    one, two = two_nodes("bridge")
    (a, b), c = (one.pod(), one.pod()), two.pod()
    assert routes(a) == [
        "default via 10.244.1.1 dev eth0",
        "10.244.1.0/24 dev eth0 proto kernel scope link src 10.244.1.2",
    ]
    assert "10.244.1.0/24 dev cbr0 proto kernel scope link src 10.244.1.1" in routes(one.net)
    assert ping(a, "10.244.1.3") == 64
    assert ping(a, "10.244.2.2") == 62
    assert {entry.addr for entry in a.neighbours} == {ip4("10.244.1.1"), ip4("10.244.1.3")}
    assert {entry.addr for entry in c.neighbours} == {ip4("10.244.2.1")}
    assert ip4("10.244.1.2") in {entry.addr for entry in b.neighbours}


def test_flat() -> None:
    one, two = two_nodes("flat")
    (a, b), c = (one.pod(), one.pod()), two.pod()
    assert routes(a) == [
        "default via 10.244.1.1 dev eth0",
        "10.244.0.0/16 dev eth0 proto kernel scope link src 10.244.1.2",
    ]
    assert "10.244.1.0/24 dev cbr0 proto kernel scope link src 10.244.1.1" in routes(one.net)
    cbr0 = one.net.device("cbr0")
    assert ping(a, "10.244.1.3") == 64
    assert ping(a, "10.244.2.2") == 62
    answers = {entry.addr: entry.lladdr for entry in a.neighbours}
    assert answers == {ip4("10.244.1.3"): b.device("eth0").mac, ip4("10.244.2.2"): cbr0.mac}
    behind = two.net.device("cbr0").mac
    # the node itself asked for c, from its own address
    assert {e.addr: e.lladdr for e in c.neighbours} == {ip4("10.244.1.2"): behind, ip4("10.244.2.1"): behind}
    # a request on the bridge's own link stays unanswered: no host has the address
    assert ping(a, "10.244.1.77") == 0
    # nothing on the wire can change the bridge's address
    before = cbr0.mac
    one.pod()
    assert cbr0.mac == before


def test_flat_hands_out_the_nodes_own_addresses_only() -> None:
    _, two = two_nodes("flat")
    two.pod()
    config = two.network.config.plugins[0]["ipam"]["ranges"]
    assert config == [
        [
            {
                "subnet": "10.244.0.0/16",
                "rangeStart": "10.244.2.1",
                "rangeEnd": "10.244.2.254",
                "gateway": "10.244.2.1",
            }
        ]
    ]
    assert [str(each) for each in two.pods[0].ipv4.addresses] == ["127.0.0.1/8", "10.244.2.2/16"]


def test_hairpin_and_mtu_are_the_clusters_choice() -> None:
    plugin = load_network("bridge", FIRST, PODS, mtu=1400, hairpin=True).config.plugins[0]
    assert (plugin["hairpinMode"], plugin["mtu"]) == (True, 1400)
    assert load_network("flat", FIRST, PODS).config.plugins[0]["hairpinMode"] is False


def test_preparing_twice_changes_nothing() -> None:
    one, _ = two_nodes("flat")
    before = routes(one.net), one.net.device("cbr0").mac
    one.network.prepare(one.host)
    assert (routes(one.net), one.net.device("cbr0").mac) == before
    assert one.net.sysctl.conf("cbr0", "proxy_arp") == 1


def test_ip_masq_agent() -> None:
    net = boot.namespace(Clock(), "node")
    boot.iptables_restore(net, load_network("bridge", FIRST, PODS).rules)
    rules = [line for line in net.ipv4.tables.save().splitlines() if line.startswith("-A")]
    local = '-m comment --comment "ip-masq-agent: local traffic is not subject to MASQUERADE" -j RETURN'
    jump = "ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ-AGENT chain"
    last = "outbound traffic is subject to MASQUERADE (must be last in chain)"
    assert rules == [
        f'-A POSTROUTING -m comment --comment "ip-masq-agent: {jump}" -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT',
        f"-A IP-MASQ-AGENT -d 169.254.0.0/16 {local}",
        f"-A IP-MASQ-AGENT -d 10.0.0.0/8 {local}",
        f"-A IP-MASQ-AGENT -d 172.16.0.0/12 {local}",
        f"-A IP-MASQ-AGENT -d 192.168.0.0/16 {local}",
        f'-A IP-MASQ-AGENT -m comment --comment "ip-masq-agent: {last}" -j MASQUERADE',
    ]
    assert "-d 192.0.2.0/24" in ip_masq_agent.rules(["192.0.2.0/24"])


def test_what_ip_masq_agent_does_to_a_pods_packets() -> None:
    one, _ = two_nodes("bridge")
    boot.iptables_restore(one.net, one.network.rules)
    outside = boot.namespace(one.net.clock, "outside")
    boot.veth(one.net, "eth1", outside, "eth0", "02:00:00:00:01:01", "02:00:00:00:01:02")
    boot.address(one.net, "eth1", "203.0.113.1/24")
    boot.address(outside, "eth0", "203.0.113.2/24")
    pod = one.pod()
    assert ping(pod, "203.0.113.2") == 63
    assert ping(pod, "192.168.9.2") == 63
    seen = {conn.orig[2]: conn.reply[2] for conn in one.net.conntrack}
    assert seen == {ip4("203.0.113.2"): ip4("203.0.113.1"), ip4("192.168.9.2"): ip4("10.244.1.2")}


def test_a_users_own_list(tmp_path: Path) -> None:
    file = tmp_path / "10-mine.conflist"
    file.write_text(
        """{"cniVersion": "1.0.0", "name": "mine", "plugins": [{"type": "bridge", "isGateway": true, "mtu": {{.Mtu}},
            "ipam": {"type": "host-local", "ranges": [{{range $i, $r := .PodCIDRRanges}}{{if $i}}, {{end}}
              [{"subnet": "{{$r}}"}]{{end}}]}}]}""",
        encoding="utf-8",
    )
    network = load_network(str(file), FIRST, PODS, mtu=1400)
    assert (network.config.name, network.rules, network.bridges) == ("mine", "", ())
    assert network.config.plugins[0]["mtu"] == 1400
    assert network.config.plugins[0]["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]
    text = json.dumps({"name": "inline", "cniVersion": "1.0.0", "plugins": [{"type": "bridge"}]})
    config = load_network(text, FIRST, PODS).config
    assert load_network(text, FIRST, PODS) == Network(config, routes=(FIRST,), agents=(host_gw.NAME,))


def test_networks_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no network is called 'brigde'") as caught:
        load_network("brigde", FIRST, PODS)
    assert caught.value.expected == f"{', '.join(sorted(networks))}, or the path of a .conflist file"
    with pytest.raises(InputError, match="cannot read the network configuration"):
        load_network(str(tmp_path / "none.conflist"), FIRST, PODS)
    file = tmp_path / "bad.conflist"
    file.write_text('{"name": "bad",\n "plugins": [{"type": "bridge", "mtu": {{.MTU}}}]}', encoding="utf-8")
    with pytest.raises(InputError, match=r"bad\.conflist:2: the template has no word 'MTU'"):
        load_network(str(file), FIRST, PODS)
