"""The network policy agent of the VPC CNI: PolicyEndpoints, maps, the table of connections, and the two modes."""

from __future__ import annotations

import pytest

import emu
from emu.clock import SECOND
from emu.errors import InputError
from emu.invariants import judge
from emu.kube.api.core import Namespace, Pod, Service
from emu.kube.api.loader import load_text
from emu.kube.api.networking import NetworkPolicy
from emu.kube.cni.plugins.aws_cni import POLICY_AGENT
from emu.kube.networks.aws_vpc.options import AwsOptions
from emu.kube.networks.aws_vpc.policy.agent import PolicyAgent, unread
from emu.kube.networks.aws_vpc.policy.endpoints import Resolver, identifier
from emu.kube.networks.aws_vpc.policy.maps import ALL, L4, Endpoint, Trie, computed
from emu.kube.networks.aws_vpc.policy.program import DEFAULT_ALLOW, DEFAULT_DENY, POLICIES_APPLIED
from emu.kube.policy.rules import compiled
from emu.trail import Dropped, Probed
from emu.wire.addr import Prefix, ip4, ip4_text
from emu.wire.frame import SCTP, TCP, UDP

NODE = ip4("10.0.0.4")


# -- maps -------------------------------------------------------------------------------------------


def rule(text: str) -> Endpoint:
    """`10.0.0.0/8 TCP:80 UDP -10.1.0.0/16`: the prefix, its ports, its exceptions."""
    prefix, *words = text.split()
    ports = []
    for word in (each for each in words if not each.startswith("-")):
        name, _, numbers = word.partition(":")
        first, _, last = numbers.partition("-")
        ports.append(L4({"TCP": TCP, "UDP": UDP, "SCTP": SCTP}[name], int(first or 0), int(last or 0)))
    holes = tuple(Prefix.parse(word[1:]) for word in words if word.startswith("-"))
    return Endpoint(Prefix.parse(prefix), tuple(ports), holes)


def allows(trie: Trie, addr: str, protocol: int = TCP, port: int = 80) -> bool:
    entry = trie.find(ip4(addr))
    return entry is not None and entry.find(protocol, port) is not None


@pytest.mark.parametrize(
    ("rules", "yes", "no"),
    [
        ([], ["10.0.0.4"], ["10.0.0.5"]),  # the node's own address is always there
        (["10.0.1.5/32"], ["10.0.1.5"], ["10.0.1.6"]),
        (["10.0.1.5/32 UDP:80", "10.0.1.5/32 TCP:81"], [], ["10.0.1.5"]),
        (["10.0.1.5/32 UDP:80", "10.0.1.5/32 TCP"], ["10.0.1.5"], []),
        (["10.0.1.5/32 TCP:79-90"], ["10.0.1.5"], []),
        (["10.0.1.5/32 TCP:81-90"], [], ["10.0.1.5"]),
        (["10.0.0.0/8 -10.1.0.0/16"], ["10.0.0.9", "10.2.0.9"], ["10.1.0.9", "11.0.0.1"]),
        # a longer prefix has what shorter ones around it allow, but for what they except
        (["10.0.0.0/8 TCP:80", "10.2.0.0/16 UDP"], ["10.2.0.9"], []),
        (["10.0.0.0/8 TCP:80 -10.2.0.0/16", "10.2.0.9/32 UDP"], [], ["10.2.0.9"]),
        (["10.0.0.0/8 -10.2.0.0/16", "10.2.0.9/32 TCP:80"], ["10.2.0.9"], ["10.2.0.8"]),
        # an exception is an entry of its own: it denies what another rule's shorter prefix allows
        (["10.0.0.0/8", "10.2.0.0/16 -10.2.3.0/24"], ["10.2.4.1"], ["10.2.3.1"]),
        (["10.0.0.0/8 -10.2.0.0/16", "10.2.0.0/16 TCP:80"], ["10.2.0.9"], []),
        (["10.0.0.0/8", "10.0.0.0/8 -10.2.0.0/16"], ["10.3.0.1"], ["10.2.0.1"]),
        # a rule for the node's address takes nothing from it
        (["10.0.0.4/32 UDP:53"], ["10.0.0.4"], []),
        (["0.0.0.0/0 TCP:80 -10.0.0.0/8"], ["8.8.8.8", "10.0.0.4"], ["10.0.0.5"]),
    ],
)  # fmt: skip
def test_the_longest_prefix_decides(rules: list[str], yes: list[str], no: list[str]) -> None:
    trie = computed([*map(rule, rules)], NODE)
    assert [addr for addr in (*yes, *no) if allows(trie, addr)] == yes
    assert computed([*map(rule, reversed(rules))], NODE).entries and allows(trie, "10.0.0.4", 99, 0)


def test_a_value_has_room_for_24_ports() -> None:
    many = Endpoint(Prefix.parse("10.0.1.5"), tuple(L4(TCP, number) for number in range(1, 30)))
    trie = computed([many], NODE)
    assert [port for port in range(1, 30) if allows(trie, "10.0.1.5", port=port)] == [*range(1, 25)]
    ports = ", ".join(f"{{port: {number}}}" for number in range(1, 30))
    (policy,) = load_text(np(f"{{podSelector: {{}}, ingress: [{{ports: [{ports}]}}]}}")).objects
    assert isinstance(policy, NetworkPolicy) and "24 ports" in unread(compiled(policy))


# -- PolicyEndpoints --------------------------------------------------------------------------------


def np(spec: str, name: str = "p", namespace: str = "default") -> str:
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}"


def pod(name: str, addr: str, ports: str = "", more: str = "", app: str = "") -> str:
    return (
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: default, labels: {{app: {app or name}}}}}, "
        f"spec: {{containers: [{{name: c, ports: [{ports}]}}]{more}}}, status: {{podIP: {addr}, phase: Running}}}}"
    )


def service(target: str, selector: str = "{app: web}", addr: str = "10.96.0.9") -> str:
    return (
        f"{{apiVersion: v1, kind: Service, metadata: {{name: s, namespace: default}}, "
        f"spec: {{clusterIP: {addr}, selector: {selector}, ports: [{{port: 8000, targetPort: {target}}}]}}}}"
    )


WEB = pod("web", "10.0.1.1", "{name: http, containerPort: 80}")
OLD = pod("old", "10.0.1.2", "{name: http, containerPort: 8080}")
AGENT = pod("agent", "10.0.0.5", more=", hostNetwork: true")
DONE = pod("done", "10.0.1.3").replace("Running", "Succeeded")
ONE = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: web}}}], ports: [PORTS]}]}"


def resolved(policy: str, *objects: str) -> tuple[list[str], list[str]]:
    """The rules of one policy, ingress and egress, as `10.0.1.1/32 TCP 80`."""
    found = load_text("\n---\n".join((policy, *objects))).objects
    resolver = Resolver()
    space = Namespace(metadata=type(found[0].metadata)(name="default"))
    pods, services = ([each for each in found if isinstance(each, kind)] for kind in (Pod, Service))
    resolver.update(pods, [space], services)  # type: ignore[arg-type]
    (made,) = resolver.resolve(each for each in found if isinstance(each, NetworkPolicy))
    ingress, egress = (
        [" ".join((str(e.prefix), *map(str, e.ports))) for e in made.rules[way]] for way in ("ingress", "egress")
    )
    return ingress, egress


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ("{podSelector: {}, ingress: [{}]}", ["0.0.0.0/0"], []),
        ("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}", ["10.0.0.5/32", "10.0.1.2/32", "10.0.1.1/32"], []),
        ("{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: agent}}}], ports: [{port: 53, protocol: UDP}]}]}", ["10.0.0.5/32 UDP 53"], []),
        # a name stands for the numbers of all pods that the policy selects, in egress for that of the pod that is called
        ("{podSelector: {}, ingress: [{ports: [{port: http}]}]}", ["0.0.0.0/0 TCP 8080 TCP 80"], []),
        ("{podSelector: {}, ingress: [{ports: [{port: other}]}]}", [], []),
        ("{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}], ports: [{port: http}]}]}", [], ["10.0.1.2/32 TCP 8080", "10.0.1.1/32 TCP 80"]),
        ("{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}", [], []),
        ("{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}, {port: 9, endPort: 12}]}]}", [], ["0.0.0.0/0 TCP 9-12"]),
        ("{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.9.0.0/16}}], ports: [{port: http}]}]}", [], []),
        # rules of a direction that policyTypes does not list
        ("{podSelector: {}, policyTypes: [Egress], ingress: [{ports: [{port: 80}]}]}", ["0.0.0.0/0 TCP 80"], []),
    ],
)  # fmt: skip
def test_what_a_policy_is_resolved_to(spec: str, ingress: list[str], egress: list[str]) -> None:
    assert resolved(np(spec), WEB, OLD, AGENT, DONE) == (ingress, egress)


@pytest.mark.parametrize(
    ("ports", "made", "rules"),
    [
        ("{port: 80}", service("80"), ["10.0.1.1/32 TCP 80", "10.96.0.9/32 TCP 8000"]),
        ("{port: http}", service("http"), ["10.0.1.1/32 TCP 80", "10.96.0.9/32 TCP 8000"]),
        ("{port: http}", service("80"), ["10.0.1.1/32 TCP 80", "10.96.0.9/32 TCP 8000"]),
        ("{port: 80}", service("http"), ["10.0.1.1/32 TCP 80", "10.96.0.9/32 TCP 8000"]),
        ("{port: 81}", service("80"), ["10.0.1.1/32 TCP 81"]),
        ("{protocol: UDP}", service("80"), ["10.0.1.1/32 UDP", "10.96.0.9/32 UDP"]),
        ("", service("80"), ["10.0.1.1/32", "10.96.0.9/32"]),
        # the Service's selector has to have what the peer's asks for, and a headless one has no address
        ("", service("80", "{tier: front}"), ["10.0.1.1/32"]),
        ("", service("80", "{app: web, tier: front}"), ["10.0.1.1/32", "10.96.0.9/32"]),
        ("", service("80", addr="None"), ["10.0.1.1/32"]),
    ],
)  # fmt: skip
def test_services_stand_beside_their_pods(ports: str, made: str, rules: list[str]) -> None:
    assert resolved(np(ONE.replace("PORTS", ports)), WEB, OLD, made)[1] == rules


def test_a_service_whose_port_name_passes_by_the_policy_is_left_out() -> None:
    """Port 80 of the one pod is behind the Service's port, and 8080 of the other."""
    other = pod("web-2", "10.0.1.9", "{name: http, containerPort: 8080}", app="web")
    rules = resolved(np(ONE.replace("PORTS", "{port: 80}")), WEB, other, service("http"))[1]
    assert rules == ["10.0.1.1/32 TCP 80", "10.0.1.9/32 TCP 80"]


@pytest.mark.parametrize(
    ("name", "found"),
    [("web", "web@shop"), ("web-0", "web@shop"), ("web-5d9c-x7z", "web-5d9c@shop"), ("a.b-1", "a_b@shop")],
)
def test_identifiers(name: str, found: str) -> None:
    assert identifier("shop", name) == found


# -- on a node --------------------------------------------------------------------------------------


def running(name: str, node: str = "node-1", app: str = "") -> str:
    return (
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {app or name}}}}}, "
        f"spec: {{nodeName: {node}, terminationGracePeriodSeconds: 0, containers: [{{name: c, ports: [{{containerPort: 8080}}, {{containerPort: 8080, protocol: UDP}}]}}]}}}}"
    )


def cluster(*manifests: str, mode: str = "standard") -> emu.Cluster:
    options = AwsOptions(enable_network_policy=True, enforcing_mode=mode)  # type: ignore[arg-type]
    config = emu.ClusterConfig.of(2, network="aws-vpc", underlay="vpc", network_options=options)
    return emu.Cluster(config, load_text("\n---\n".join(manifests)).objects)


def agent(made: emu.Cluster, node: str = "node-1") -> PolicyAgent:
    found: PolicyAgent = made.nodes[node].net.programs[POLICY_AGENT]
    return found


DENY = np("{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}")


def test_the_drop_is_at_the_interface_and_has_its_words() -> None:
    made = cluster(running("web"), running("far", "node-2"), DENY)
    flow = made.tcp("default/far", "default/web:8080", timeout_s=1)
    (loss, *_) = flow.losses
    assert (loss.reason, loss.netns) == ("TC_EGRESS", "node-1") and loss.device.startswith("eni")
    (last, *_) = [frame for frame in flow.frames if any(isinstance(each, Dropped) for each in frame.trail)]
    comment = last.comment()
    assert ": the program handle_ingress there decides so, no entry of the map has the address. The ingress" in comment
    assert "The ingress of default/web forbids it: isolated by default/p, no rule allows" in comment
    assert f"by tc handle_ingress of {loss.device}: no entry of the map has the address" in comment
    assert last.interface == "node-1/drop"


def test_egress_dies_before_netfilter() -> None:
    made = cluster(running("web"), running("far", "node-2"), np("{podSelector: {}, policyTypes: [Egress]}"))
    flow = made.tcp("default/web", "default/far:8080", timeout_s=1)
    assert {each.reason for each in flow.losses} == {"TC_INGRESS"}
    assert made.nodes["node-1"].net.conntrack is not None and len(made.nodes["node-1"].net.conntrack) == 0


def test_arp_passes() -> None:
    made = cluster(running("web"), np("{podSelector: {}, policyTypes: [Egress, Ingress]}"))
    flow = made.tcp("node/node-1", "default/web:8080", b"x")
    assert flow.delivered
    asked = [frame for frame in flow.frames if "who-has" in frame.line() and "eni" in frame.interface]
    assert {frame.way for frame in asked} >= {"out"}


@pytest.mark.parametrize(
    ("mode", "before", "state"), [("standard", "delivered", DEFAULT_ALLOW), ("strict", "dropped", DEFAULT_DENY)]
)
def test_a_new_pod_before_its_policies(mode: str, before: str, state: int) -> None:
    """The controller collects changes of pods for a second: until then a pod of a new name has the mode's default."""
    made = cluster(
        running("far", "node-2"),
        np("{podSelector: {matchLabels: {app: web}}, ingress: [{}]}"),
        np("{podSelector: {matchLabels: {app: far}}, egress: [{}], ingress: [{}]}", "q"),
        mode=mode,
    )
    made.apply(load_text(running("web")).objects[0], settle=False)
    made.wait(0.5)
    assert agent(made).programs.maps["web@default"].state == state
    assert made.tcp("default/far", "default/web:8080", timeout_s=0.2).outcome.word == before
    (verdict,) = judge(made, ["policies_decide"])
    assert verdict.held, "what has no policies yet is not held against them"
    made.wait(2)
    assert agent(made).programs.maps["web@default"].state == POLICIES_APPLIED
    assert made.tcp("default/far", "default/web:8080", b"x").delivered


def test_a_further_pod_of_a_known_name_has_its_maps_at_once() -> None:
    made = cluster(running("far", "node-2"), running("web-1", app="web"), DENY)
    made.apply(load_text(running("web-2", app="web")).objects[0], settle=False)
    made.wait(0.5)
    assert made.tcp("default/far", "default/web-2:8080", timeout_s=0.2).outcome.word == "dropped"


def test_pods_that_share_an_identifier_share_their_maps() -> None:
    """Kept as the agent has it: a policy on one binds the other, too, on every node."""
    made = cluster(
        running("far", "node-2"),
        running("a-1"),
        running("a-2"),
        np("{podSelector: {matchLabels: {app: a-1}}, policyTypes: [Ingress]}"),
    )
    assert made.tcp("default/far", "default/a-2:8080", timeout_s=1).outcome.word == "dropped"


def test_the_maps_go_with_the_last_pod() -> None:
    made = cluster(running("web-1", app="web"), running("web-2", app="web"), DENY)
    assert set(agent(made).programs.maps) == {"web@default"}
    made.delete("pod", "default", "web-1")
    assert set(agent(made).programs.maps) == {"web@default"}
    made.delete("pod", "default", "web-2")
    assert not agent(made).programs.maps and not list(agent(made).programs.devices)


def test_where_the_last_policy_goes_the_node_stays_in_the_map() -> None:
    made = cluster(running("web"), DENY, mode="strict")
    made.delete("networkpolicy", "default", "p")
    maps = agent(made).programs.maps["web@default"]
    assert maps.state == DEFAULT_DENY and len(maps.ingress.entries) == len(maps.egress.entries) == 1
    assert made.tcp("node/node-1", "default/web:8080", b"x").delivered


def test_a_direction_without_isolation_allows_everything() -> None:
    made = cluster(running("web"), DENY)
    maps = agent(made).programs.maps["web@default"]
    assert [str(each.prefix) for each in maps.egress.entries] == [
        f"{ip4_text(made.nodes['node-1'].ip)}/32",
        str(ALL.prefix),
    ]


def test_the_table_is_cleaned_by_the_kernels_connections() -> None:
    """An entry that was noted goes at the next look, unless the kernel tracks its connection or a packet met it since."""
    made = cluster(running("web"), running("far", "node-2"), running("near"))
    assert made.udp("default/near", "default/web:8080").delivered
    flow = made.tcp("default/far", "default/web:8080", b"x", close=False)
    table = agent(made).programs.table
    assert {each[4] for each in table} == {TCP, UDP}
    made.wait(290)
    assert {each[4] for each in table} == {TCP, UDP}, "the first look notes them"
    made.wait(320)
    assert {each[4] for each in table} == {TCP}
    assert made.more(flow, b"y").delivered


def test_a_fork_goes_its_own_way() -> None:
    made = cluster(running("web"), running("far", "node-2"))
    other = made.fork()
    other.apply(load_text(DENY).objects[0])
    assert other.tcp("default/far", "default/web:8080", timeout_s=1).outcome.word == "dropped"
    assert made.tcp("default/far", "default/web:8080", b"x").delivered


def test_what_has_not_changed_is_not_resolved_anew() -> None:
    made = cluster(running("web"), running("far", "node-2"), DENY, np("{podSelector: {matchLabels: {app: far}}}", "q"))
    resolver = made.loops.agents["aws-network-policy-agent"].resolver  # type: ignore[attr-defined]
    before = resolver.resolved
    made.apply(load_text(running("other")).objects[0])
    assert resolver.resolved == before


def test_it_runs_with_its_own_network_alone() -> None:
    with pytest.raises(InputError, match="does not run with network 'bridge'"):
        emu.Cluster(emu.ClusterConfig.of(1, policy="aws-network-policy-agent"))


def test_the_programs_state_what_they_decided_by() -> None:
    made = cluster(
        running("web"),
        running("far", "node-2"),
        np(
            "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 8080}]}]}"
        ),
    )
    flow = made.tcp("default/far", "default/web:8080", b"x")
    stated = [
        str(each.by)
        for frame in flow.frames
        for each in frame.trail
        if isinstance(each, Probed) and each.device != "" and frame.interface.startswith("node-1")
    ]
    assert "the map's entry 10.0.0.0/8 allows TCP 8080" in stated
    assert (
        "it answers a connection that is in the agent's table" in stated
        and "its connection is in the agent's table" in stated
    )
    assert made.clock.now < 60 * SECOND
