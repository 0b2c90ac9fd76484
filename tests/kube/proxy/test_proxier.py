"""When kube-proxy syncs and how much: the minimum period, partial and full syncs, canaries, stale UDP entries."""

from __future__ import annotations

import pytest

from emu.clock import MS, SECOND
from emu.kernel.netfilter.ruleset import Chain, RuleSet
from emu.kube.api.loader import load_text
from emu.kube.api.meta import Object
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.iptables import names
from emu.kube.proxy.iptables.names import service_hash
from emu.kube.proxy.proxier import FULL_SYNC_NS
from emu.wire.addr import ip4_text
from service_node import ServiceNode

SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {clusterIP: ADDRESS, ports: [{name: web, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME-1, labels: {kubernetes.io/service-name: NAME}}
addressType: IPv4
endpoints: [ENDPOINTS]
ports: [{name: web, port: 8080}, {name: dns, port: 53, protocol: UDP}]
"""
CONFIG = ProxyConfig(node_name="test-node", cluster_cidr="10.0.0.0/8")


def service(name: str, ip: str, *endpoints: str) -> list[Object]:
    listed = ", ".join(f"{{addresses: [{each}]}}" if "{" not in each else each for each in endpoints)
    text = SERVICE.replace("NAME", name).replace("ADDRESS", ip).replace("ENDPOINTS", listed)
    return load_text(text).objects


WEB, DB = service("web", "10.96.0.10", "10.0.1.1"), service("db", "10.96.0.20", "10.0.2.1")
SVC_WEB, SVC_DB = (f"KUBE-SVC-{service_hash(f'default/{name}:web', 'tcp')}" for name in ("web", "db"))


@pytest.fixture
def node() -> ServiceNode:
    made = ServiceNode(CONFIG, ["192.168.0.2"])
    made.update([*WEB, *DB])
    return made


def reached(node: ServiceNode, dst: str = "10.96.0.10") -> str:
    return ip4_text(node.send("10.0.0.9", dst, 80, indev="cbr0")[1].dst)


def test_the_first_sync_is_full_and_later_ones_partial(node: ServiceNode) -> None:
    assert (node.proxier.syncs, node.proxier.full_syncs) == (1, 1)
    node.update([*service("web", "10.96.0.10", "10.0.1.2"), *DB])
    assert (node.proxier.syncs, node.proxier.full_syncs) == (2, 1)
    assert reached(node) == "10.0.1.2"


def test_syncs_keep_their_distance(node: ServiceNode) -> None:
    clock, proxier = node.clock, node.proxier
    clock.run_until(10 * SECOND)
    for number in range(1, 6):  # five changes within 50 ms: one sync at once, one for the rest a second later
        node.learn([*service("web", "10.96.0.10", f"10.0.1.{number}"), *DB])
        clock.run_until(10 * SECOND + number * 10 * MS)
    assert proxier.syncs == 2
    assert reached(node) == "10.0.1.1"
    clock.run_until(11 * SECOND - 1)
    assert proxier.syncs == 2
    clock.run_until(11 * SECOND)
    assert proxier.syncs == 3
    assert reached(node) == "10.0.1.5"
    clock.run_until(60 * SECOND)
    assert proxier.syncs == 3


def test_a_partial_sync_writes_only_what_changed(node: ServiceNode) -> None:
    before = node.net.ipv4.tables.ruleset
    node.update([*service("web", "10.96.0.10", "10.0.1.2"), *DB])
    after = node.net.ipv4.tables.ruleset
    assert after.chain("nat", SVC_DB) is before.chain("nat", SVC_DB)
    assert after.chain("nat", SVC_WEB) is not before.chain("nat", SVC_WEB)
    assert "10.0.1.1" not in node.net.ipv4.tables.save()
    assert len(after.tables["nat"]) == len(before.tables["nat"])


def tampered(node: ServiceNode, *gone: str) -> None:
    """Empties chains of the nat table, as a user might."""
    tables = node.net.ipv4.tables
    nat = {name: Chain(name) if name in gone else chain for name, chain in tables.ruleset.tables["nat"].items()}
    tables.replace(RuleSet({**tables.ruleset.tables, "nat": nat}))


def test_what_was_broken_from_outside_is_mended_by_a_full_sync(node: ServiceNode) -> None:
    """A partial sync leaves the chains of Services that did not change; one after an hour is full."""
    tampered(node, SVC_DB)
    node.update([*service("web", "10.96.0.10", "10.0.1.2"), *DB])
    assert reached(node, "10.96.0.20") == "10.96.0.20"
    node.clock.run_until(node.clock.now + FULL_SYNC_NS + SECOND)
    node.rounds.resync()
    node.clock.run_until(node.clock.now + SECOND)
    assert node.proxier.full_syncs == 2
    assert reached(node, "10.96.0.20") == "10.0.2.1"


def test_shared_chains_are_written_by_every_sync(node: ServiceNode) -> None:
    tampered(node, names.SERVICES)
    assert reached(node) == "10.96.0.10"
    node.update([*service("web", "10.96.0.10", "10.0.1.2"), *DB])
    assert reached(node) == "10.0.1.2"
    assert node.proxier.full_syncs == 1


@pytest.mark.parametrize(
    "others", ["", "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 1 -j ACCEPT\nCOMMIT\n"]
)
def test_flushed_tables_are_found_by_the_canary(node: ServiceNode, others: str) -> None:
    saved = node.net.ipv4.tables.save()
    node.net.ipv4.tables.replace(RuleSet({}))
    if others:
        node.net.ipv4.tables.restore(others)
    node.clock.run_until(40 * SECOND)
    assert reached(node) == "10.96.0.10"
    node.rounds.resync()
    node.clock.run_until(41 * SECOND)
    assert node.proxier.full_syncs == 2
    assert reached(node) == "10.0.1.1"
    if others:  # kube-proxy's jumps are in front of what was there
        chain = node.net.ipv4.tables.ruleset.chain("nat", "PREROUTING")
        assert chain is not None
        rules = [rule.spec for rule in chain.rules]
        assert [rule.rpartition(" ")[2] for rule in rules] == ["KUBE-SERVICES", "ACCEPT"]
    else:
        assert node.net.ipv4.tables.save() == saved


def test_a_partial_sync_that_fails_is_followed_by_a_full_one(node: ServiceNode) -> None:
    """The rules of a chain that is gone cannot be jumped to: iptables-restore refuses them all."""
    tables = node.net.ipv4.tables
    nat = {name: chain for name, chain in tables.ruleset.tables["nat"].items() if name not in (SVC_DB, names.SERVICES)}
    nat["PREROUTING"], nat["OUTPUT"] = Chain("PREROUTING", "ACCEPT"), Chain("OUTPUT", "ACCEPT")
    tables.replace(RuleSet({**tables.ruleset.tables, "nat": nat}))
    node.update([*service("web", "10.96.0.10", "10.0.1.2"), *DB])
    assert (node.proxier.syncs, reached(node)) == (1, "10.96.0.10")
    node.clock.run_until(node.clock.now + 30 * SECOND)
    assert (node.proxier.syncs, node.proxier.full_syncs) == (2, 2)
    assert (reached(node), reached(node, "10.96.0.20")) == ("10.0.1.2", "10.0.2.1")


def test_a_partial_sync_into_flushed_tables_finds_the_built_in_chains(node: ServiceNode) -> None:
    """It does not fail where no chain of a Service is jumped to; it makes no jumps from the built-in chains either."""
    node.update([])
    node.net.ipv4.tables.replace(RuleSet({}))
    node.update(service("web", "10.96.0.10"))
    saved = node.net.ipv4.tables.save()
    assert node.proxier.full_syncs == 1
    assert ":PREROUTING ACCEPT" in saved and "-A PREROUTING" not in saved and "-A KUBE-SERVICES" in saved


def test_a_new_zone_makes_the_next_sync_full(node: ServiceNode) -> None:
    node.config = ProxyConfig(node_name="test-node", cluster_cidr="10.0.0.0/8", zone="b")
    node.update([*WEB, *DB])
    assert node.proxier.full_syncs == 2


def test_stale_udp_entries_are_flushed_and_others_are_not(node: ServiceNode) -> None:
    def ask(protocol: str, sport: int, dport: int) -> str:
        return ip4_text(node.send("10.0.0.9", "10.96.0.10", dport, protocol, indev="cbr0", sport=sport)[1].dst)

    assert (ask("UDP", 4000, 53), ask("TCP", 4000, 80)) == ("10.0.1.1", "10.0.1.1")
    tcp_only = "{addresses: [10.0.1.1], conditions: {ready: false, serving: true, terminating: true}}"
    node.update([*service("web", "10.96.0.10", tcp_only, "10.0.1.2"), *DB])
    assert (ask("UDP", 4000, 53), ask("TCP", 4000, 80)) == ("10.0.1.1", "10.0.1.1")  # it still serves
    assert ask("UDP", 4001, 53) == "10.0.1.2"
    node.update([*service("web", "10.96.0.10", "10.0.1.2"), *DB])
    assert ask("UDP", 4000, 53) == "10.0.1.2"
    assert ask("TCP", 4000, 80) == "10.0.1.1"


def test_nothing_is_flushed_when_the_last_endpoint_goes(node: ServiceNode) -> None:
    """As in the version of kube-proxy that the rules are of."""
    node.send("10.0.0.9", "10.96.0.10", 53, "UDP", indev="cbr0", sport=4000)
    node.update([*service("web", "10.96.0.10"), *DB])
    assert ip4_text(node.send("10.0.0.9", "10.96.0.10", 53, "UDP", indev="cbr0", sport=4000)[1].dst) == "10.0.1.1"


@pytest.mark.parametrize(("loopback", "on"), [((), 1), (("192.168.0.0/16",), 0), (("0.0.0.0/0",), 1)])
def test_localhost_node_ports_switch_route_localnet_on(loopback: tuple[str, ...], on: int) -> None:
    made = ServiceNode(
        ProxyConfig(node_name="n", cluster_cidr="10.0.0.0/8", node_port_addresses=loopback), ["192.168.0.2"]
    )
    made.update(WEB)
    assert made.net.sysctl.number("net.ipv4.conf.all.route_localnet") == on


def test_in_a_large_cluster_stale_chains_stay_for_a_while() -> None:
    """With more than 1000 endpoints they are looked for once in a sync period; unused, they do no harm."""
    many = [f"10.{2 + number // 250}.0.{number % 250 + 1}" for number in range(1001)]
    made = ServiceNode(CONFIG, ["192.168.0.2"])
    big = service("db", "10.96.0.20", *many)
    made.update([*WEB, *big])
    made.clock.run_until(10 * SECOND)
    made.update([*service("web", "10.96.0.10", "10.0.1.2"), *big])
    saved = made.net.ipv4.tables.save()
    assert "--to-destination 10.0.1.1:8080" in saved
    assert reached(made) == "10.0.1.2"
    made.clock.run_until(41 * SECOND)
    made.update([*service("web", "10.96.0.10", "10.0.1.3"), *big])
    saved = made.net.ipv4.tables.save()
    assert "10.0.1.1:" not in saved and "10.0.1.2:" not in saved
