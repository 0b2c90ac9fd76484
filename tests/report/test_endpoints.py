"""The endpoints of `emu trace -f`: a replay on a copy of the sender's node, which the cluster never notices."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.kernel.netfilter.ipset_text import parse_ipset
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster
from emu.kube.flow.flow import Flow
from emu.report import views
from emu.report.snapshot import Snapshot
from emu.report.trace import trace

MANIFESTS = """\
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, ports: [{containerPort: 8080}, {containerPort: 8080, protocol: UDP}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  AFFINITY
  clusterIP: 10.96.0.10
  selector: {app: web}
  ports: [{name: tcp, port: 80, targetPort: 8080}, {name: udp, port: 80, targetPort: 8080, protocol: UDP}]
"""
CLIENT, NODE = "default/client", "node/node-1"


def cluster(affinity: str = "None", rules: str = "", sysctl: tuple[str, int] | None = None) -> Cluster:
    """Two nodes, three pods behind a Service; `rules` are added on the client's node."""
    made = Cluster(2, load_text(MANIFESTS.replace("AFFINITY", f"sessionAffinity: {affinity}")).objects)
    net = made.nodes["node-1"].net
    net.ipv4.tables.ipsets = parse_ipset("create seen hash:ip,port\n")
    if rules:
        net.ipv4.tables.restore(rules, noflush=True)
    if sysctl is not None:
        net.sysctl[sysctl[0]] = sysctl[1]
    return made


def chances(made: Cluster, source: str, target: str, protocol: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = trace(made, source, target, protocol).report.data["endpoints"]
    return found


def test_a_redirect_to_the_node_itself() -> None:
    rules = "*nat\n-A PREROUTING -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9999\nCOMMIT\n"
    made = cluster()
    node = made.nodes["node-1"].net
    # before kube-proxy's rules, as a sidecar's would be
    node.ipv4.tables.restore(rules + "", noflush=True)
    text = node.ipv4.tables.save().splitlines()
    own = next(line for line in text if "REDIRECT" in line)
    text.remove(own)
    first = next(n for n, line in enumerate(text) if line.startswith("-A PREROUTING"))
    node.ipv4.tables.restore("\n".join([*text[:first], own, *text[first:]]) + "\n")
    (only,) = chances(made, CLIENT, "svc/web:80")
    assert (only["to"], only["probability"], only["chains"]) == ("10.244.1.1:9999", 1.0, ["PREROUTING"])


def test_a_mark_of_mangle_is_seen_by_the_nat_rules() -> None:
    rules = """\
*mangle
-A PREROUTING -s 10.244.1.0/24 -d 192.0.2.1/32 -j MARK --set-xmark 0x7/0xffffffff
COMMIT
*nat
-A PREROUTING -d 192.0.2.1/32 -p tcp -m mark --mark 0x7 -j DNAT --to-destination 10.244.2.2:8080
COMMIT
"""
    (only,) = chances(cluster(rules=rules), CLIENT, "192.0.2.1:80")
    assert (only["to"], only["chains"]) == ("10.244.2.2:8080", ["PREROUTING"])


def test_a_rewritten_source_is_shown() -> None:
    rules = "*nat\n-A POSTROUTING -s 10.244.1.0/24 -d 10.244.2.2/32 -j SNAT --to-source 192.168.51.11\nCOMMIT\n"
    made = cluster(rules=rules)
    found = {each["to"]: each["source"] for each in chances(made, CLIENT, "svc/web:80")}
    assert found["10.244.2.2:8080"] == "192.168.51.11"
    assert sorted(found.values())[:2] == ["", ""]
    text = trace(made, CLIENT, "svc/web:80").report.text
    assert "10.244.2.2:8080 from 192.168.51.11  PREROUTING -> KUBE-SERVICES" in text


def test_an_affinity_that_is_remembered_leaves_one_endpoint() -> None:
    """`recent` in a live cluster: the first packet had three, every later one of the client has one."""
    made = cluster("ClientIP")
    first = trace(made, CLIENT, "svc/web:80")
    assert [each["probability"] for each in first.report.data["endpoints"]] == pytest.approx([1 / 3] * 3, abs=1e-6)
    (later,) = chances(made, CLIENT, "svc/web:80")
    assert later["probability"] == 1.0
    assert later["to"] == first.flow.dnat.rpartition(" ")[2]
    made.wait(10_801)  # timeoutSeconds, and a second
    assert len(chances(made, CLIENT, "svc/web:80")) == 3


def test_an_address_that_no_rule_rewrites() -> None:
    (only,) = chances(cluster(), CLIENT, "10.244.2.2:8080")
    assert only == {"to": "", "source": "", "probability": 1.0, "chains": []}
    assert chances(cluster(), "external", "10.244.2.2:8080") == []


def test_an_echo_has_no_port() -> None:
    rules = "*nat\n-A PREROUTING -d 192.0.2.1/32 -p icmp -j DNAT --to-destination 10.244.2.2\nCOMMIT\n"
    (only,) = chances(cluster(rules=rules), CLIENT, "192.0.2.1")
    assert only["to"] == "10.244.2.2"


def state(made: Cluster) -> dict[str, Any]:
    """What a cluster keeps, by namespace: every view, and what its matches remember."""
    return {
        name: (
            {view: show(net).data for view, show in views.items()},
            deepcopy(list(net.ipv4.tables.memory.values())),
            net.ipv4.tables.ipsets.save(),
            made.clock.now,
        )
        for name, net in made.namespaces.items()
    }


def frames(flow: Flow) -> list[tuple[str, str, int, bytes]]:
    return [(each.interface, each.way, each.time_ns, each.data) for each in flow.frames]


# every second connection to 192.0.2.7 is sent on, and each of them is put into a set and counted by a limit
MEMORY = """\
*mangle
-A PREROUTING -d 192.0.2.7/32 -m limit --limit 5/hour -j SET --add-set seen src,src --exist
COMMIT
*nat
-A PREROUTING -d 192.0.2.7/32 -p tcp -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination 10.244.2.2:8080
COMMIT
"""


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((CLIENT, NODE, "default/web-0")),
            st.sampled_from(("svc/web:80", "192.0.2.7:80", "default/web-1:8080", "10.244.1.99:80")),
            st.sampled_from(("tcp", "udp")),
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(("None", "ClientIP")),
)
@pytest.mark.slow
def test_the_cluster_never_notices(asked: list[tuple[str, str, str]], affinity: str) -> None:
    """A cluster whose flows are traced and one whose flows are only sent: the same state, and the same frames."""
    traced, plain = cluster(affinity, MEMORY), cluster(affinity, MEMORY)
    for source, target, protocol in asked:
        node = traced.nodes["node-1"].net
        before = state(traced)
        Snapshot.of(node).build()
        assert state(traced) == before
        one = trace(traced, source, target, protocol).flow
        if protocol == "tcp":
            other = plain.tcp(source, target, close=False)
        else:
            other = plain.udp(source, target, b"emu trace")
        assert frames(one) == frames(other)
        assert state(traced) == state(plain)


def test_a_copy_is_its_namespace() -> None:
    """Routes, rules, addresses and sysctls read the same; a bridge's ports are not there."""
    made = cluster("ClientIP", MEMORY, ("net.ipv4.conf.eth0.rp_filter", 2))
    net = made.nodes["node-1"].net
    net.sysctl["net.ipv4.ip_default_ttl"] = 99
    made.tcp(CLIENT, "svc/web:80")
    copy, _sent = Snapshot.of(net).build()
    for view in ("rules", "routes"):
        assert views[view](copy).text == views[view](net).text
    rows = ("ifname", "operstate", "mtu", "address", "addr_info")
    here = [{key: each[key] for key in rows} for each in views["interfaces"](net).data if "master" not in each]
    assert [{key: each[key] for key in rows} for each in views["interfaces"](copy).data] == here
    assert {name: copy.sysctl[name] for name in copy.sysctl} == {name: net.sysctl[name] for name in copy.sysctl}
    assert copy.clock.now == net.clock.now
    assert list(copy.ipv4.tables.memory.values()) == list(net.ipv4.tables.memory.values())
    assert views["conntrack"](copy).data == []


def test_a_rule_that_asks_for_a_bridge_port_is_undecided() -> None:
    """The copy that endpoints are worked out in has no ports."""
    made = cluster()
    node = made.nodes["node-1"].net
    text = node.ipv4.tables.save().splitlines()
    own = "-A PREROUTING -d 10.96.0.10/32 -p tcp -m physdev --physdev-in veth+ -j DNAT --to-destination 10.9.9.9"
    first = next(n for n, line in enumerate(text) if line.startswith("-A PREROUTING"))
    node.ipv4.tables.restore("\n".join([*text[:first], own, *text[first:]]) + "\n")
    traced = trace(made, CLIENT, "svc/web:80")
    (only,) = traced.report.data["endpoints"]
    rule = "nat PREROUTING rule 1: -A PREROUTING -d 10.96.0.10/32 -p tcp -m physdev --physdev-in veth+ -j DNAT"
    assert (only["probability"], only["undecided"].startswith(rule)) == (1.0, True)
    assert f"undecided by {rule}" in traced.report.text
    # the rules of the namespace itself stay as they are
    assert "UnknownMatch" not in repr([each.matches for each in node.ipv4.tables.ruleset.rules()])
