"""kindnet's policies: what is queued, what the program answers, labels of connections, and when the set follows."""

from __future__ import annotations

import pytest

import emu
from emu.errors import InputError
from emu.kube.api.loader import load_text
from emu.kube.networks.kindnet.policy.queue import CHAINS, LABEL, TABLE, NftRule, QueuedPolicies
from emu.trail import Dropped
from emu.wire.addr import ip4

# `nft list table inet kindnet-network-policies`, without the sets and counters
LISTED = """\
chain postrouting
udp dport 53 accept
icmpv6 type 133 accept
icmpv6 type 134 accept
icmpv6 type 135 accept
icmpv6 type 136 accept
icmpv6 type 137 accept
meta skuid 0 counter accept
ct label 100 ct state established,related counter accept
ip saddr @podips-v4 queue flags bypass to 101
ip daddr @podips-v4 queue flags bypass to 101
ip6 saddr @podips-v6 queue flags bypass to 101
ip6 daddr @podips-v6 queue flags bypass to 101
ct label set 100
chain input
iifname "lo" accept
ip saddr @podips-v4 ct state new queue flags bypass to 101
ip6 saddr @podips-v6 ct state new queue flags bypass to 101
chain prerouting
meta l4proto != udp accept
udp dport != 53 accept
ip saddr @podips-v4 queue flags bypass to 101
ip daddr @podips-v4 queue flags bypass to 101
ip6 saddr @podips-v6 queue flags bypass to 101
ip6 daddr @podips-v6 queue flags bypass to 101
"""


def pod(name: str, node: str, app: str = "echo@8080") -> str:
    port = app.partition("@")[2]
    return (
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}}}, annotations: {{emu/app: {app}}}}}, "
        f"spec: {{nodeName: {node}, containers: [{{name: c, ports: [{{containerPort: {port}}}, {{containerPort: {port}, protocol: UDP}}]}}]}}}}"
    )


def policy(spec: str, name: str = "p") -> str:
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}}}, spec: {spec}}}"


CLOSED = policy("{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}")
OBJECTS = (pod("web", "node-1"), pod("db", "node-1"), pod("far", "node-2"), pod("names", "node-2", "echo@53"))


def cluster(*manifests: str) -> emu.Cluster:
    config = emu.ClusterConfig.of(2, network="kindnet", underlay="switched")
    return emu.Cluster(config, load_text("\n---\n".join((*OBJECTS, *manifests))).objects)


def table(made: emu.Cluster, node: str = "node-1") -> QueuedPolicies:
    found: QueuedPolicies = made.nodes[node].net.programs[TABLE]
    return found


def test_the_chains_as_they_are_listed() -> None:
    lines = []
    for name, rules in CHAINS.items():
        lines += [f"chain {name}", *(rule.spec for rule in rules)]
        assert [rule.number for rule in rules] == [*range(1, len(rules) + 1)]
    assert "\n".join(lines) + "\n" == LISTED


def test_it_is_the_networks_own() -> None:
    made = cluster(CLOSED)
    assert made.warnings == []
    assert made.tcp("default/web", "default/db:8080", b"x", timeout_s=1).outcome.word == "dropped"
    with pytest.raises(InputError, match="does not run with network 'bridge'"):
        emu.Cluster(emu.ClusterConfig.of(1, policy="kindnet"))


def test_the_set_has_the_nodes_own_pods_that_a_policy_selects() -> None:
    made = cluster(CLOSED, policy("{podSelector: {matchLabels: {app: far}}, egress: [{}]}", "q"))
    assert table(made).selected == {ip4(made.pods["default/db"].ip)}
    assert table(made, "node-2").selected == {ip4(made.pods["default/far"].ip)}
    made.delete("networkpolicy", "default", "p")
    assert table(made).selected == set()


def test_the_first_packet_is_queued_and_the_rest_goes_by_the_label() -> None:
    made = cluster(policy("{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}]}]}"))
    flow = made.tcp("default/web", "default/db:8080", b"x")
    met = [each for frame in flow.frames for each in frame.trail if isinstance(each, NftRule)]
    assert flow.delivered and met[0].spec == "ip daddr @podips-v4 queue flags bypass to 101"
    assert {each.number for each in met[1:]} == {8}
    conntrack = made.nodes["node-1"].net.conntrack
    assert conntrack is not None and all(conn.labels == 1 << LABEL for conn in conntrack)


def test_the_frame_that_dies_carries_the_rule_and_the_policy() -> None:
    flow = cluster(CLOSED).tcp("default/far", "default/db:8080", timeout_s=1)
    dropped = next(frame for frame in flow.frames if any(isinstance(each, Dropped) for each in frame.trail))
    comment = dropped.comment()
    assert (
        "dropped NETFILTER_DROP at node-1/eth0 by kindnet-network-policies postrouting rule 10: inet kindnet-network-policies postrouting ip daddr @podips-v4 queue flags bypass to 101"
        in comment
    )
    assert "The ingress of default/db forbids it: isolated by default/p, no rule allows" in comment


def test_the_callers_node_judges_both_sides() -> None:
    """A selected caller's packet to a closed pod ends on the caller's node, another's on that of the closed pod."""
    made = cluster(
        policy("{podSelector: {matchLabels: {app: far}}, policyTypes: [Ingress]}"),
        policy("{podSelector: {matchLabels: {app: db}}, egress: [{}]}", "q"),
    )
    assert made.tcp("default/db", "default/far:8080", timeout_s=1).losses[0].netns == "node-1"
    assert made.tcp("default/web", "default/far:8080", timeout_s=1).losses[0].netns == "node-2"


def test_a_pod_that_asks_its_own_node_is_judged_at_input() -> None:
    made = cluster(policy("{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress]}"))
    flow = made.ping("default/db", "node/node-1", timeout_s=1)
    (loss, *_) = flow.losses
    assert flow.outcome.word == "dropped" and getattr(loss.by, "chain", "") == "input"
    assert made.ping("node/node-1", "default/db").delivered, "programs of the node are root's"


def test_queries_to_port_53_are_judged_in_prerouting_each_time() -> None:
    made = cluster(policy("{podSelector: {matchLabels: {app: db}}, egress: [{ports: [{port: 53, protocol: UDP}]}]}"))
    assert made.udp("default/db", "default/names:53", port=4000).delivered
    made.apply(load_text(policy("{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress]}")).objects[0])
    flow = made.udp("default/db", "default/names:53", port=4000, timeout_s=1)
    (loss, *_) = flow.losses
    assert flow.outcome.word == "dropped" and getattr(loss.by, "chain", "") == "prerouting"


def test_an_error_about_a_known_connection_passes() -> None:
    """ICMP's answer to a datagram is related to it, and has its label."""
    made = cluster(policy("{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}"))
    assert made.udp("default/db", "default/far:9", timeout_s=1).outcome.word == "rejected"


def test_the_set_follows_at_most_once_a_second() -> None:
    """A pod that starts within a second of another change is not queued until then."""
    made = cluster(policy("{podSelector: {matchLabels: {app: late}}, policyTypes: [Ingress]}"))
    made.apply(load_text(pod("late", "node-1")).objects[0], settle=False)
    while not made.pods.get("default/late"):
        made.wait(0.1)
    made.wait(0.2)
    assert made.tcp("default/far", "default/late:8080", b"x", timeout_s=0.2).delivered
    made.wait(2)
    assert made.tcp("default/far", "default/late:8080", timeout_s=1).outcome.word == "dropped"


def test_a_fork_goes_its_own_way() -> None:
    made = cluster()
    other = made.fork()
    other.apply(load_text(CLOSED).objects[0])
    assert other.tcp("default/web", "default/db:8080", timeout_s=1).outcome.word == "dropped"
    assert made.tcp("default/web", "default/db:8080", b"x").delivered
