"""Causes that are planted in nodes' dumps, one a row: `emu why` names each with the node and the rule, route or entry in its first two lines.

A dump is what the commands print on a node of the healthy cluster (tests/support/node_dumps_made.py), edited as the fault would.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest

from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster
from emu.kube.dumped import IDS
from emu.kube.live.read import read as read_export
from emu.pasted.node_texts import node_texts
from emu.why.answer import answer
from emu.why.ask import ask
from emu.why.causes import cause
from emu.wire.addr import ip4_text
from exports import Shape, export
from node_dumps_made import Dumped, dump_of, write

KUBEADM, KIND, EKS, CALICO = Shape("kubeadm", 4), Shape("kind", 4), Shape("eks", 4, control=0), Shape("calico", 4)
Found = dict[str, Any]


class Places(NamedTuple):
    """Addresses and names that a row speaks of. `local` is the pod behind svc/local, `near` one of the client's node."""

    names: dict[str, str]

    def __call__(self, text: str) -> str:
        for key, value in self.names.items():
            text = text.replace(f"<{key}>", value)
        return text


Edit = Callable[[Dumped, Places], None]


# -- edits ------------------------------------------------------------------------------------------------


def without(file: str, pattern: str) -> Edit:
    """Every line in which the pattern is found is gone."""

    def edit(dump: Dumped, places: Places) -> None:
        lines = dump[file].splitlines(keepends=True)
        kept = [each for each in lines if not re.search(places(pattern), each)]
        assert len(kept) < len(lines), f"{places(pattern)} is in no line of {file}"
        dump[file] = "".join(kept)

    return edit


def instead(file: str, pattern: str, text: str) -> Edit:
    """Each match of the pattern is replaced."""

    def edit(dump: Dumped, places: Places) -> None:
        dump[file], count = re.subn(places(pattern), places(text), dump[file], flags=re.MULTILINE)
        assert count, f"{places(pattern)} is nowhere in {file}"

    return edit


def inserted(table: str, rule: str) -> Edit:
    """A rule in front of all others of its chain."""

    def edit(dump: Dumped, places: Places) -> None:
        text, chain = dump["iptables-save"], rule.split()[1]
        if f"*{table}\n" not in text:
            hooks = {
                "raw": ("PREROUTING", "OUTPUT"),
                "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
            }[table]
            text += f"*{table}\n" + "".join(f":{each} ACCEPT [0:0]\n" for each in hooks) + "COMMIT\n"
        start = text.index(f"*{table}\n")
        end = text.index("COMMIT", start)
        first = text.find(f"\n-A {chain} ", start, end) + 1 or end
        dump["iptables-save"] = text[:first] + places(rule) + "\n" + text[first:]

    return edit


def added(file: str, line: str) -> Edit:
    def edit(dump: Dumped, places: Places) -> None:
        dump[file] += places(line) + "\n"

    return edit


def both(*edits: Edit) -> Edit:
    def edit(dump: Dumped, places: Places) -> None:
        for each in edits:
            each(dump, places)

    return edit


def policy(table: str, chain: str) -> Edit:
    """The policy of a built-in chain is DROP."""

    def edit(dump: Dumped, places: Places) -> None:
        head, found, rest = dump["iptables-save"].partition(f"*{table}\n")
        assert found
        dump["iptables-save"] = head + found + rest.replace(f":{chain} ACCEPT", f":{chain} DROP", 1)

    return edit


def chain_of(pattern: str) -> Edit:
    """The chain that the first match of the pattern jumps to is emptied."""

    def edit(dump: Dumped, places: Places) -> None:
        found = re.search(places(pattern) + r".*-j (KUBE-(?:SVC|SEP)-\w+)", dump["iptables-save"])
        assert found is not None
        without("iptables-save", f"^-A {found[1]} ")(dump, places)

    return edit


def interface_down(name: str) -> Edit:
    """An interface without UP, in both listings."""

    def edit(dump: Dumped, places: Places) -> None:
        for file in ("ip-link", "ip-addr"):
            pattern = rf"(: {re.escape(places(name))}(?:@\w+)?: <BROADCAST,MULTICAST),UP,LOWER_UP>(.*) state UP"
            instead(file, pattern, r"\1>\2 state DOWN")(dump, places)

    return edit


def interface_gone(name: str) -> Edit:
    def edit(dump: Dumped, places: Places) -> None:
        for file in ("ip-link", "ip-addr"):
            instead(file, rf"^\d+: {re.escape(places(name))}(?:@\w+)?: .*\n(?: .*\n)+", "")(dump, places)
        without("bridge-fdb", rf"dev {re.escape(places(name))} ")(dump, places)

    return edit


def mtu(name: str, size: int) -> Edit:
    def edit(dump: Dumped, places: Places) -> None:
        for file in ("ip-link", "ip-addr"):
            instead(file, rf"(: {re.escape(places(name))}(?:@\w+)?: <.*> mtu )\d+", rf"\g<1>{size}")(dump, places)

    return edit


# -- changes of the export ----------------------------------------------------------------------------------


def nothing(found: Found) -> None:
    """As it is."""


def traffic(found: Found, name: str, policy: str) -> None:
    for each in found["items"]:
        if each["kind"] == "Service" and each["metadata"]["name"] == name:
            each["spec"]["externalTrafficPolicy"] = policy


def cluster_wide(found: Found) -> None:
    """svc/local is reached by every node."""
    traffic(found, "local", "Cluster")


def local_web(found: Found) -> None:
    """A node sends to its own pod of web alone."""
    traffic(found, "web", "Local")


def policed(found: Found) -> None:
    """The client alone may reach the pod of svc/local."""
    allowed = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "tools"}}}
    spec = {
        "podSelector": {"matchLabels": {"app": "local"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [allowed]}],
    }
    meta = {"name": "tools-only", "namespace": "shop", "uid": "9"}
    found["items"].append(
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}
    )


class Row(NamedTuple):
    """`words` stand in the second line. The dump is that of the node of the client, of the pod behind svc/local (`local`), or of the
    `first` node."""

    cause: str
    words: str
    edit: Edit
    where: str = "client"
    target: str = "svc/local.shop:80"
    source: str = "default/tools"
    shape: Shape = KUBEADM
    planted: Callable[[Found], None] = nothing
    options: dict[str, Any] = {}
    foreign: bool = True


SVC_LOCAL = r"-A KUBE-SERVICES -d \S+ .*shop/local:http cluster IP"
ROWS = [
    # kube-proxy's rules
    Row("proxy-rules-missing", "KUBE-SERVICES of the nat table is empty", without("iptables-save", "^-A KUBE-SERVICES ")),
    Row("proxy-rules-missing", "KUBE-SERVICES of the nat table is not there", without("iptables-save", "KUBE-")),
    Row("proxy-rules-missing", "of shop/local:http is empty", chain_of(SVC_LOCAL)),
    Row("proxy-rules-missing", "of shop/local:http is empty", chain_of("-A KUBE-SVC-.*shop/local:http -> "), shape=KIND),
    Row("proxy-rules-missing", "jumps to KUBE-SERVICES", without("iptables-save", "^-A PREROUTING .*KUBE-SERVICES"), shape=EKS),
    Row("proxy-rules-missing", "does not send to the endpoint", without("iptables-save", "^-A KUBE-SVC-.*shop/local:http -> "), shape=KUBEADM),
    Row("proxy-rules-missing", "KUBE-SERVICES", without("iptables-save", "^-A KUBE-SERVICES "), target="web.shop:80", shape=KIND),
    Row(
        "stale-endpoint", "<gone>:8080, which no slice lists", instead("iptables-save", "--to-destination <local>:8080", "--to-destination <gone>:8080")
    ),
    Row(
        "stale-endpoint", "<gone>:8080, which no slice lists", instead("iptables-save", "--to-destination <local>:8080", "--to-destination <gone>:8080"),
        shape=EKS,
    ),
    Row(
        "masquerade-missing", "KUBE-MARK-MASQ is empty", without("iptables-save", "^-A KUBE-MARK-MASQ"), "first", "{first}:31235", "external",
        planted=cluster_wide, shape=KIND,
    ),
    Row(
        "masquerade-missing", "KUBE-POSTROUTING does not masquerade", without("iptables-save", "^-A KUBE-POSTROUTING .*MASQUERADE"), "first",
        "{first}:31235", "external", planted=cluster_wide, shape=KIND,
    ),
    Row(
        "masquerade-missing", "does not mark what has to be masqueraded", without("iptables-save", "^-A KUBE-EXT-.*KUBE-MARK-MASQ"), "first",
        "{first}:31235", "external", planted=cluster_wide, shape=KIND,
    ),
    Row("masquerade-missing", "does not masquerade what leaves", without("iptables-save", "FLANNEL-POSTRTG"), target="external"),
    Row("masquerade-missing", "does not masquerade what leaves", without("iptables-save", "^-A KIND-MASQ-AGENT"), target="external", shape=KIND),
    # other rules
    Row("forward-drop", "the policy of FORWARD in the filter table is DROP", policy("filter", "FORWARD"), target="{local}:8080", shape=EKS),
    Row(
        "forward-drop", ":FORWARD DROP",
        both(policy("filter", "FORWARD"), without("iptables-save", "^-A FORWARD .*FLANNEL-FWD")), "local",
    ),
    Row("rule", "-A PREROUTING -p tcp -m tcp --dport 8080 -j DROP", inserted("raw", "-A PREROUTING -p tcp -m tcp --dport 8080 -j DROP"), "local"),
    Row("rule", "-A INPUT -p tcp -m tcp --dport 9100 -j DROP", inserted("filter", "-A INPUT -p tcp -m tcp --dport 9100 -j DROP"), "local", "node/{local-node}:9100"),
    Row(
        "rule", "--reject-with icmp-port-unreachable",
        inserted("filter", "-A FORWARD -d <local>/32 -p tcp -m tcp --dport 8080 -j REJECT --reject-with icmp-port-unreachable"), "local", shape=CALICO,
    ),
    Row("ipset-member-missing", "<client>", without("ipset-save", "^add .*<client>"), "local", shape=CALICO, planted=policed),
    # routes
    Row("route-missing", "<local-cidr>", without("ip-route", "^<local-cidr> ")),
    Row("route-missing", "<local-block>", without("ip-route", "^<local-block> "), shape=CALICO),
    Row("route-missing", "there is no route to pod/shop/local-", without("ip-route", "^<local> dev "), "local", shape=EKS),
    Row("route-missing", "<client-cidr>", without("ip-route", "^<client-cidr> "), "local", shape=KIND),
    Row("route-missing", "there is no route to the outside", without("ip-route", "^default"), target="external", shape=KIND),
    Row("route-wrong", "has another next hop", instead("ip-route", "^<local-cidr> via .*", "<local-cidr> via <router> dev <uplink>")),
    Row("route-wrong", "has another next hop", instead("ip-route", "^<local-cidr> via \\S+", "<local-cidr> via <first>"), shape=KIND),
    Row("ip-rule-missing", "from <second>", without("ip-rule", "from <second> "), "client", "{second}:8080", "shop/local", shape=EKS),
    # interfaces, neighbours, tunnels
    Row("link-down", "flannel.1 is down", interface_down("flannel.1")),
    Row("link-down", "of pod/shop/local-", interface_down("<local-port>"), "local"),
    Row("link-down", "of pod/shop/local-", interface_down("<local-port>"), "local", shape=EKS),
    Row("link-down", "is not there", interface_gone("<local-port>"), "local"),
    Row("address-missing", "cni0 lacks the address", without("ip-addr", "scope global cni0")),
    Row("neighbour-missing", "flannel.1 has no neighbour", without("ip-neigh", "^<local-tunnel> ")),
    Row("neighbour-wrong", "which is not that of node/", instead("ip-neigh", "^(<local-tunnel> .*lladdr) \\S+", "\\1 5e:99:99:99:99:99")),
    Row("neighbour-wrong", "02:00:00:00:00:99", added("ip-neigh", "<local-node-ip> dev <uplink> lladdr 02:00:00:00:00:99 PERMANENT"), shape=CALICO),
    Row("neighbour-failed", "did not answer ARP", instead("ip-neigh", "^<local> dev (\\S+) .*", "<local> dev \\1 FAILED"), "local"),
    Row("fdb-missing", "does not know where the MAC of node/", without("bridge-fdb", "dst <local-node-ip> ")),
    Row("fdb-missing", "sends what is for node/", instead("bridge-fdb", "dst <local-node-ip> ", "dst <first> ")),
    Row("mtu", "mtu 1000", mtu("<local-port>", 1000), "local", options={"size": 1400}),
    # sysctls and connections
    Row("forwarding-off", "net.ipv4.ip_forward is 0", instead("sysctl", "ip_forward = 1", "ip_forward = 0")),
    Row("forwarding-off", "net.ipv4.ip_forward = 0", instead("sysctl", "ip_forward = 1", "ip_forward = 0"), "local", shape=CALICO),
    Row("bridge-netfilter-off", "bridge-nf-call-iptables is 0", instead("sysctl", "(bridge-nf-call-iptables) = 1", "\\1 = 0"), target="svc/web.shop:80"),
    Row(
        "rp-filter", "rp_filter of <uplink> is strict", instead("sysctl", "<uplink>.rp_filter = 2", "<uplink>.rp_filter = 1"), "client",
        "{client-node-ip}:{web-port}", "node/<local-node>", shape=EKS, planted=local_web,
    ),
    Row(
        "route-localnet-off", "route_localnet of", instead("sysctl", "all.route_localnet = 1", "all.route_localnet = 0"), target="127.0.0.1:{web-port}",
        source="node/<client-node>",
    ),
    Row(
        "conntrack-full", "262144 of 262144",
        instead("sysctl", "nf_conntrack_count = \\d+", "nf_conntrack_count = 262144"), shape=KIND,
    ),
    Row(
        "conntrack-stale", "is translated to <gone>",
        added(
            "conntrack",
            "udp      17 28 src=<client> dst=<dns> sport=40123 dport=53 [UNREPLIED] src=<gone> dst=<client> sport=53 dport=40123 mark=0 use=1",
        ),
        target="svc/kube-dns.kube-system:53/udp", options={"sport": 40123},
    ),
]  # fmt: skip


class Healthy(NamedTuple):
    cluster: Cluster
    text: str


@cache
def healthy(shape: Shape, planted: Callable[[Found], None]) -> Healthy:
    found = export(shape)
    planted(found)
    text = json.dumps(found)
    return Healthy(Cluster.live(text, capture=False), text)


def pod_named(cluster: Cluster, name: str) -> str:
    return next(each for each in cluster.pods if each.startswith(name))


def places_of(cluster: Cluster, text: str, dump: Dumped, where: str) -> Places:
    client, local = cluster.pods["default/tools"], cluster.pods[pod_named(cluster, "shop/local-")]
    nodes = [*cluster.nodes.values()]
    items = json.loads(text)["items"]
    dns = next(
        each["spec"]["clusterIP"]
        for each in items
        if each["kind"] == "Service" and each["metadata"]["name"] == "kube-dns"
    )
    web = next(each for each in items if each["kind"] == "Service" and each["metadata"]["name"] == "web")
    gone = str(local.ip).rpartition(".")[0] + ".61"
    own = {"client": client.node, "local": local.node, "first": nodes[0]}[where]
    names = {
        "client": str(client.ip), "local": str(local.ip), "gone": gone, "dns": dns, "first": str(nodes[0].ip), "local-node-ip": str(local.node.ip),
        "client-node-ip": str(client.node.ip), "client-node": client.node.name, "local-node": local.node.name, "local-cidr": str(local.node.pod_cidr), "client-cidr": str(client.node.pod_cidr),
        "local-block": next((str(r.prefix) for r in client.node.net.ipv4.fib.main if r.gateway and r.prefix.length and local.ip in r.prefix), "none"),
        "local-tunnel": str(local.node.pod_cidr).partition("/")[0],
        "uplink": "ens192" if "ens192" in dump["ip-link"] else "eth0",
    }  # fmt: skip
    router = next(each.gateway for each in client.node.net.ipv4.fib.main if not each.prefix.length)
    names |= {"router": ip4_text(router), "web-port": str(web["spec"]["ports"][0].get("nodePort", 0))}
    mine = [line.split() for line in dump["ip-rule"].splitlines() if re.search(r"from \S+ lookup [23]$", line)]
    names["second"] = mine[0][2] if mine else ""
    names["local-port"] = _port(dump, str(local.ip)) if own is local.node else ""
    return Places(names)


def _port(dump: Dumped, address: str) -> str:
    """The interface of a pod, as people find it: by its route, or by its MAC behind the bridge."""
    route = re.search(rf"^{re.escape(address)} dev (\S+)", dump["ip-route"], re.MULTILINE)
    if route is not None:
        return route[1]
    mac = re.search(rf"^{re.escape(address)} dev \S+ lladdr (\S+)", dump["ip-neigh"], re.MULTILINE)
    assert mac is not None
    port = re.search(rf"^{mac[1]} dev (\S+) master", dump["bridge-fdb"], re.MULTILINE)
    assert port is not None
    return port[1]


class Asked(NamedTuple):
    text: str
    cause: str | None
    words: str
    ids: frozenset[str]


@cache
def asked(number: int) -> Asked:
    """The answer to one row, its cause, and which differences were found."""
    with TemporaryDirectory() as folder:
        return _asked(ROWS[number], Path(folder) / "dump")


def _asked(row: Row, folder: Path) -> Asked:
    cluster, text = healthy(row.shape, row.planted)
    node = {
        "client": cluster.pods["default/tools"].node.name,
        "local": cluster.pods[pod_named(cluster, "shop/local-")].node.name,
        "first": next(iter(cluster.nodes)),
    }[row.where]
    dump = dump_of(cluster, node, foreign=row.foreign)
    places = places_of(cluster, text, dump, row.where)
    row.edit(dump, places)
    if row.cause == "conntrack-full":  # as where conntrack-tools are not installed
        del dump["conntrack"]
    write(dump, folder)
    faulty = dumped(text, {node: folder})
    target = places(row.target.replace("{", "<").replace("}", ">"))
    source = pod_named(cluster, row.source) if row.source.startswith("shop/") else places(row.source)
    case, _ = ask(faulty, source, target, **row.options)
    found = cause(case)
    ids = frozenset(each.id for each in faulty.differences)
    return Asked(answer(case, found).text, found.cause if found is not None else None, places(row.words), ids)


def dumped(text: str, folders: dict[str, Path]) -> Cluster:
    shown = read_export(load_text(text, "dump.json"))
    dumps = {name: node_texts(folder) for name, folder in folders.items()}
    return Cluster(replace(shown.config, dumps=dumps), shown.objects, capture=False)


@pytest.mark.parametrize(
    "number", range(len(ROWS)), ids=lambda each: f"{ROWS[each].cause}-{ROWS[each].shape.flavour}-{each}"
)
def test_the_cause_and_its_node_stand_in_the_first_two_lines(number: int) -> None:
    row, found = ROWS[number], asked(number)
    first, second, *_ = found.text.splitlines()
    assert found.cause == row.cause, found.text
    assert found.words in second and second.startswith("cause: node/"), found.text
    assert "/dump/" in second and found.ids, found.text
    assert any(words in first for words in ("does not reach", "only: ")), found.text


def test_every_kind_of_difference_is_planted() -> None:
    assert len(ROWS) >= 40
    assert {each for number in range(len(ROWS)) for each in asked(number).ids} == set(IDS)


HEALTHY = [
    "svc/web.shop:80", "web.shop:80", "svc/local.shop:80", "svc/plain.shop:80", "svc/half.shop:80", "svc/ledger.books:5432", "svc/web.shop",
    "svc/kube-dns.kube-system:53/udp", "svc/kubernetes:443", "external",
]  # fmt: skip


@pytest.mark.parametrize("foreign", [False, True], ids=["own-names", "foreign-names"])
@pytest.mark.parametrize("shape", [KUBEADM, KIND, EKS, CALICO, Shape("gke", 4)], ids=lambda shape: shape.flavour)
def test_healthy_dumps_have_no_difference_and_their_flows_no_cause(shape: Shape, foreign: bool, tmp_path: Path) -> None:
    """A hundred flows over the dumps of two nodes in five clusters."""
    cluster, text = healthy(shape, nothing)
    nodes = {cluster.pods[name].node.name for name in ("default/tools", pod_named(cluster, "shop/local-"))}
    folders = {name: write(dump_of(cluster, name, foreign=foreign), tmp_path / name) for name in nodes}
    same = dumped(text, folders)
    assert [str(each) for each in same.differences] == []
    if foreign:
        assert "ens192" in same.node(min(nodes)).net.devices
    targets = [each for each in HEALTHY if shape.flavour != "eks" or each != "external"]  # its VPC has no way out
    for target in targets:
        case, _ = ask(same, "default/tools", target)
        because = cause(case)
        assert because is None and case.word == "delivered", answer(case, because).text
