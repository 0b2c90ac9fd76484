"""kube-router's dataplane: what it writes, what its packets meet, and what a change makes it write anew."""

from __future__ import annotations

import pytest

import emu
from emu.kube.agent import Objects, Settings
from emu.kube.api.core import Namespace, Pod
from emu.kube.api.loader import load_text
from emu.kube.api.meta import Object, replace
from emu.kube.api.networking import NetworkPolicy
from emu.kube.policy.kube_router import names, rules
from emu.kube.policy.kube_router.agent import KubeRouter
from emu.wire.addr import Prefix

POD = (
    "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}, spec: {{nodeName: {node}, "
    "containers: [{{name: c, ports: [{{name: http, containerPort: 8080}}, {{containerPort: 8080, protocol: UDP}}]}}]}}}}"
)
PODS = [POD.format(name=name, node=node) for name, node in (("web", "node-1"), ("db", "node-2"), ("near", "node-2"))]
NAMESPACE = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"
SERVICE = (
    "{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {type: NodePort, clusterIP: 10.96.0.20, "
    "selector: {app: db}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}}"
)


def policy(spec: str, name: str = "p") -> str:
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: shop}}, spec: {spec}}}"


DB = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 8080}]}]}"
CLOSED = "{podSelector: {matchLabels: {app: db}}}"


def cluster(*policies: str, **options: object) -> emu.Cluster:
    text = "\n---\n".join([NAMESPACE, *PODS, SERVICE, *policies])
    return emu.Cluster(emu.ClusterConfig.of(2, policy="kube-router", **options), load_text(text).objects)


def rules_of(made: emu.Cluster, node: str, *chains: str) -> list[str]:
    """The rules of chains that begin so, with the hashes of pods' and policies' chains as numbers, in their order."""
    seen: dict[str, str] = {}
    found = []
    for line in made.nodes[node].net.ipv4.tables.save().splitlines():
        for word in line.split():
            if word.startswith((names.POD, names.POLICY)) and word not in (names.DEFAULT, names.COMMON, names.TAIL):
                seen.setdefault(word, f"{word[:12]}{len(seen)}")
        if line.startswith(tuple(f"-A {chain}" for chain in chains)):
            for word, short in seen.items():
                line = line.replace(word, short)
            found.append(line)
    return found


def test_the_hashes_in_comments_are_kube_routers_own() -> None:
    """From a node with kube-router."""
    assert [rules.first(chain).split('"')[1] for chain in ("INPUT", "FORWARD", "OUTPUT")] == [
        "kube-router netpol - 4IA2OSFRMVNDXBVV",
        "kube-router netpol - TEMCG2JMHZYE7H7T",
        "kube-router netpol - VEAAIY32XVBHCSCY",
    ]


def test_the_chain_of_a_pod_and_of_a_policy() -> None:
    made = cluster(policy(DB))
    db = [line for line in rules_of(made, "node-2", names.POD) if "near" not in line]
    own = next(line.split()[1] for line in db if "shop/p policy" in line)
    assert [line.removeprefix(f"-A {own} ") for line in db if line.split()[1] == own] == [
        '-m comment --comment "common netpol rules" -j KUBE-NWPLCY-COMMON',
        '-d 10.244.2.2/32 -m comment --comment "from local node" -m addrtype --src-type LOCAL -j ACCEPT',
        '-s 10.244.2.2/32 -m comment --comment "default egress" -j KUBE-NWPLCY-DEFAULT',
        '-d 10.244.2.2/32 -m comment --comment "shop/p policy" -j KUBE-NWPLCY-0',
        '-m comment --comment "shop/db log-drop" -m mark ! --mark 0x10000/0x10000 -m limit --limit 10/min --limit-burst 10 -j NFLOG --nflog-group 100',
        '-m comment --comment "shop/db reject" -m mark ! --mark 0x10000/0x10000 -j REJECT --reject-with icmp-port-unreachable',
        "-j MARK --set-xmark 0x0/0x10000",
        '-m comment --comment "set netpol-ok mark" -j MARK --set-xmark 0x20000/0x20000',
    ]
    match = (
        '-A KUBE-NWPLCY-0 -p tcp -m comment --comment "shop/p ingress pods" -m set --match-set KUBE-SRC-S2KB3AAZNAAE5L3O src '
        "-m set --match-set KUBE-DST-XXL3ESNAQBEXYTI2 dst -m tcp --dport 8080"
    )
    assert rules_of(made, "node-2", "KUBE-NWPLCY-3", "KUBE-NWPLCY-0")[:2] == [
        f"{match} -j MARK --set-xmark 0x10000/0x10000",
        f"{match} -m mark --mark 0x10000/0x10000 -j RETURN",
    ]
    assert made.nodes["node-1"].net.ipv4.tables.ipsets.save() == made.nodes["node-2"].net.ipv4.tables.ipsets.save()


def test_a_refused_flow_names_the_rule() -> None:
    flow = cluster(policy(DB)).tcp("shop/near", "shop/db:8080", b"x")
    assert (flow.outcome.word, flow.outcome.detail, flow.outcome.place) == (
        "rejected",
        "port-unreachable",
        "node-2/cbr0",
    )
    assert '"shop/db reject"' in str(flow.outcome.by)


@pytest.mark.parametrize(
    ("source", "to", "outcome"),
    [
        ("shop/web", "shop/db:8080", "delivered"),
        ("shop/web", "svc/db.shop:80", "delivered"),
        ("shop/near", "svc/db.shop:80", "rejected"),
        ("external", "node/node-2:30080", "rejected"),
        ("external", "node/node-1:30080", "rejected"),
        ("node/node-2", "shop/db:8080", "delivered"),
        ("node/node-2", "svc/db.shop:80", "delivered"),
        ("node/node-1", "shop/db:8080", "rejected"),
        ("shop/db", "svc/db.shop:80", "delivered"),  # its own egress is open, which marks the packet in the same chain
        ("shop/db", "shop/web:8080", "delivered"),
    ],
)  # fmt: skip
def test_where_packets_meet_the_policy(source: str, to: str, outcome: str) -> None:
    assert cluster(policy(DB), hairpin=True).tcp(source, to, b"x", timeout_s=1).outcome.word == outcome


def test_without_br_netfilter_a_bridge_carries_what_a_policy_forbids() -> None:
    made = cluster(policy(DB), sysctls={"net.bridge.bridge-nf-call-iptables": 0})
    assert made.tcp("shop/near", "shop/db:8080", b"x").delivered
    assert made.tcp("external", "shop/db:8080", b"x").outcome.word == "rejected"


def test_ping_passes_what_is_closed() -> None:
    assert cluster(policy(CLOSED)).ping("shop/near", "shop/db").delivered


def test_an_exception_of_one_block_is_one_of_all_blocks_of_the_rule() -> None:
    """They are one set, where the longer prefix with nomatch wins; the API would let the packet pass by the first block."""
    blocks = "{ipBlock: {cidr: 0.0.0.0/0}}, {ipBlock: {cidr: 10.244.0.0/16, except: [10.244.1.0/24]}}"
    made = cluster(policy(f"{{podSelector: {{matchLabels: {{app: db}}}}, ingress: [{{from: [{blocks}]}}]}}"))
    assert made.tcp("shop/web", "shop/db:8080", b"x", timeout_s=1).outcome.word == "rejected"
    assert made.tcp("shop/near", "shop/db:8080", b"x").delivered
    apart = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"
    made.apply(load_text(policy(apart)).objects[0])
    assert made.tcp("shop/web", "shop/db:8080", b"x").delivered


def test_what_is_established_goes_on_after_a_new_deny() -> None:
    made = cluster()
    flow = made.tcp("shop/web", "shop/db:8080", b"x", close=False)
    for each in load_text(policy(CLOSED)).objects:
        made.apply(each)
    assert made.more(flow, b"y").delivered
    assert made.tcp("shop/web", "shop/db:8080", b"x").outcome.word == "rejected"


def test_a_change_of_labels_and_policies_is_followed() -> None:
    made = cluster(policy(DB))
    near = made.store.get(Pod, "shop", "near")
    assert near is not None
    made.apply(replace(near, metadata=replace(near.metadata, labels={"app": "web"})))
    assert made.tcp("shop/near", "shop/db:8080", b"x").delivered
    made.delete("networkpolicy", "shop", "p")
    assert made.tcp("external", "shop/db:8080", b"x").delivered
    assert len(made.nodes["node-1"].net.ipv4.tables.ipsets) == 0
    chains = made.nodes["node-2"].net.ipv4.tables.ruleset.tables["filter"]
    assert sum(name.startswith(names.POD) for name in chains) == 2
    assert {name for name in chains if name.startswith(names.POLICY)} == {names.DEFAULT, names.COMMON, names.TAIL}


def test_what_is_deleted_by_hand_is_put_back() -> None:
    made = cluster(policy(DB))
    made.iptables("node-2", "-F KUBE-ROUTER-FORWARD")
    assert made.tcp("shop/near", "shop/db:8080", b"x").delivered
    made.wait(301)
    assert made.tcp("shop/near", "shop/db:8080", b"x").outcome.word == "rejected"


def test_a_fork_goes_its_own_way() -> None:
    made = cluster(policy(DB))
    copy = made.fork()
    copy.delete("networkpolicy", "shop", "p")
    assert copy.tcp("shop/near", "shop/db:8080", b"x").delivered
    assert made.tcp("shop/near", "shop/db:8080", b"x").outcome.word == "rejected"


# -- scale ------------------------------------------------------------------------------------------


def many(pods: int, policies: int) -> list[Object]:
    found: list[Object] = [*load_text(NAMESPACE).objects]
    (pod,) = load_text(PODS[0]).objects
    assert isinstance(pod, Pod)
    for n in range(pods):
        meta = replace(pod.metadata, name=f"p{n}", labels={"app": f"a{n % 20}"})
        status = replace(pod.status, phase="Running", pod_ip=f"10.244.{n >> 8}.{n & 255}")
        found.append(replace(pod, metadata=meta, status=status))
    (spec,) = load_text(policy(DB.replace("app: db", "app: a1").replace("app: web", "app: a2"))).objects
    assert isinstance(spec, NetworkPolicy)
    for n in range(policies):
        text = DB.replace("app: db", f"app: a{n % 20}").replace("app: web", f"app: a{(n + 7) % 20}")
        (made,) = load_text(policy(text, f"p{n}")).objects if n < 20 else (spec,)
        found.append(replace(made, metadata=replace(made.metadata, name=f"p{n}")))
    return found


def test_one_relabelled_pod_makes_only_the_policies_that_mean_it_be_written_anew() -> None:
    agent = KubeRouter(Settings(Prefix.parse("10.244.0.0/16")))
    objects = many(100, 200)

    def view(given: list[Object], before: object) -> object:
        kinds = {kind: [each for each in given if isinstance(each, kind)] for kind in (NetworkPolicy, Pod, Namespace)}
        return agent.view(Objects(kinds), before)  # type: ignore[arg-type]  # a view of its own

    first = view(objects, None)
    assert agent.written == 200
    pod = next(each for each in objects if isinstance(each, Pod) and each.metadata.labels["app"] == "a3")
    changed = replace(pod, metadata=replace(pod.metadata, labels={"app": "a4"}))
    view([changed if each is pod else each for each in objects], first)
    asked = sum(
        isinstance(each, NetworkPolicy) and ({"a3", "a4"} & set(str(each.spec).replace("'", " ").split())) != set()
        for each in objects
    )
    assert agent.written == 200 + asked < 220
