"""What `emu show` prints of a node is a node's dump that emu reads: the node that it makes shows the same again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from emu.kernel import boot, commands
from emu.kernel.link.bridge import Bridge, FdbEntry
from emu.kernel.link.veth import Veth
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster
from emu.kube.plan import ClusterConfig
from emu.lab import Lab
from emu.pasted.node_texts import node_texts
from emu.report import views
from emu.why.ask import ask
from emu.why.causes import cause
from emu.wire.addr import mac_text

FILES = {
    "rules": "iptables-save", "interfaces": "ip-addr", "routes": "ip-route", "ip-rules": "ip-rule", "neigh": "ip-neigh", "fdb": "bridge-fdb",
    "conntrack": "conntrack",
}  # fmt: skip
LEARNT = ("REACHABLE", "STALE", "DELAY", "PROBE")
"""Not kept of a dump: what the emulated node learns itself."""
PODS = load_text("""\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {emu/app: echo@80}}
    spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-1, containers: [{name: c}]}
""").objects
NODE = "node-1"


def used(network: str) -> Cluster:
    """A cluster after some traffic, whose node has something of its own in each table."""
    cluster = Cluster(ClusterConfig(network=network), PODS, capture=False)
    for source in ("default/client", f"node/{NODE}", "node/node-2"):
        assert cluster.tcp(source, "svc/web:80", b"?").delivered
    net = cluster.node(NODE).net
    cluster.iptables(NODE, "-A INPUT -s 198.51.100.7 -p tcp -m multiport --dports 80,443 -j DROP")
    boot.route(net, "blackhole 203.0.113.0/24")
    gateway = re.findall(r"(?m)^default via (\S+)", shown(cluster, "routes", "text"))[0]
    boot.route(net, f"100.64.0.0/10 via {gateway} dev eth0 mtu 1400 metric 50")
    commands.RULE["add"](net, "from 198.51.100.0/24 fwmark 0x10/0xf0 lookup 100 priority 500")
    boot.route(net, "blackhole default table 100")
    commands.NEIGH["add"](net, "192.168.51.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent")
    return cluster


def shown(cluster: Cluster, view: str, form: str) -> str:
    report = views[view](cluster.node(NODE).net)
    return json.dumps(report.data, indent=2) if form == "json" else report.text + "\n"


def dumped(cluster: Cluster, folder: Path, form: str, only: str = "") -> Cluster:
    """The same cluster with the node as the views of the other one show it."""
    for view, name in FILES.items():
        if (only or view) == view and not (view == "interfaces" and form == "text"):  # a table of emu's own
            (folder / (f"{name}.json" if form == "json" else name)).write_text(shown(cluster, view, form))
    config = ClusterConfig(network=cluster.config.network, dumps={NODE: node_texts(folder)})
    return Cluster(config, PODS, capture=False)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("network", ["bridge", "flannel", "calico"])
def test_a_node_is_read_as_it_was_shown(network: str, form: str, tmp_path: Path) -> None:
    cluster = used(network)
    again = dumped(cluster, tmp_path, form)
    assert [each for each in again.differences if each.id != "node-foreign-drop"] == []
    for view in FILES:
        assert kept(again, view) == kept(cluster, view), view
    assert not again.tcp("external", f"{again.nodes[NODE].ip}:80", b"?", timeout_s=2).delivered
    assert again.tcp("default/client", "svc/web:80", b"?").delivered


def kept(cluster: Cluster, view: str) -> list[str]:
    lines = views[view](cluster.node(NODE).net).text.splitlines()
    if view == "conntrack":  # seconds: the clusters are not of one age; counters are not taken from a dump
        return sorted(re.sub(r"(tcp +6) \d+| (packets|bytes)=\d+", r"\1", each) for each in lines)
    if view == "neigh":
        return sorted(each for each in lines if not each.endswith(LEARNT))
    return sorted(each for each in lines if view != "fdb" or each.endswith(("permanent", "static")))


def test_connections_keep_the_seconds_that_are_left(tmp_path: Path) -> None:
    before = used("bridge")
    clusters = (before, dumped(before, tmp_path, "json"))
    one, other = (sorted(each["seconds"] for each in views["conntrack"](at.node(NODE).net).data) for at in clusters)
    assert len(one) >= 2 and min(one) > 60
    assert all(abs(a - b) <= 1 for a, b in zip(one, other, strict=True))


def _moved(cluster: Cluster) -> tuple[bytes, str, str]:
    """The client's MAC, and the ports of the client and of another pod of its node."""
    pods = [each for each in cluster.pods.values() if each.node.name == NODE]
    pods.sort(key=lambda each: each.name != "default/client")
    client, other = (each.net.devices["eth0"] for each in pods[:2])
    assert isinstance(client, Veth) and isinstance(other, Veth) and client.peer is not None and other.peer is not None
    return client.mac, client.peer.name, other.peer.name


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_entry_of_a_bridge_that_people_set_is_in_force(form: str, tmp_path: Path) -> None:
    cluster = used("bridge")
    address, home, other = _moved(cluster)
    bridge = cluster.node(NODE).net.devices["cbr0"]
    assert isinstance(bridge, Bridge)
    (port,) = [each for each in bridge.ports if each.device.name == other]
    bridge.fdb[address] = FdbEntry(address, port, 0, static=True)
    line = f"{mac_text(address)} dev {other} master cbr0 static"
    assert line in shown(cluster, "fdb", "text")
    again = dumped(cluster, tmp_path, form, only="fdb")
    assert line in shown(again, "fdb", "text")
    (found,) = again.differences
    assert found.id == "node-fdb-wrong" and f"out of {other}" in found.what
    assert found.expected == f"{mac_text(address)} dev {home} master cbr0"
    case, _ = ask(again, "node/node-2", f"{again.pods['default/client'].ip}:80")
    because = cause(case)
    assert because is not None and because.cause == "fdb-missing" and "bridge-fdb" in because.sentence


def test_an_interface_without_a_carrier_is_shown_so() -> None:
    host = Lab().host("h")
    boot.bridge(host, "br0", "02:00:00:00:00:cc")
    (row,) = [each for each in views["interfaces"](host).data if each["ifname"] == "br0"]
    assert row["flags"] == ["NO-CARRIER", "BROADCAST", "UP"] and row["operstate"] == "DOWN"
