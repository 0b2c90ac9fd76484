"""Pods that are wired when their node is touched: who touches one, what is never put off, and that nothing shows it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from emu.errors import InputError
from emu.kube.api.core import Pod
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.node.unwired import Unwired
from emu.wire.frame import Frame
from put_off import AtOnce, asleep, captured, pair, unlike, unwired
from reachable import shared

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 9
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
---
apiVersion: v1
kind: Service
metadata: {name: front}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 81, targetPort: 80, nodePort: 30080}]}
"""


def placed(nodes: int) -> str:
    """Three pods on each node, `NODE-NUMBER`; the first one is wired at its start."""
    pod = "{{apiVersion: v1, kind: Pod, metadata: {{name: n{0}-{1}, labels: {{app: placed}}}}, spec: {{nodeName: node-{0}, containers: [{{name: c}}]}}}}"
    return "\n---\n".join(pod.format(node, number) for node in range(1, nodes + 1) for number in range(3))


UNDERLAYS = ("routed", "switched", "vpc")
NETWORKS = [(name, underlay) for name in ("bridge", "flat", "flannel", "calico") for underlay in UNDERLAYS]


@pytest.mark.parametrize(("network", "underlay"), [*NETWORKS, ("kindnet", "switched")])
def test_nothing_shows_it_afterwards(network: str, underlay: str) -> None:
    at_once, later = pair(3, f"{WEB}---\n{placed(3)}", network=network, underlay=underlay)
    assert len(unwired(later)) == len(later.pods) - 3 and not unwired(at_once)
    assert unlike(at_once, later) == []


def test_the_comparison_finds_what_differs() -> None:
    """A pod that was wired 1 ns late, a draw more, one entry of a table."""
    changes: list[Callable[[Cluster], object]] = [
        lambda made: setattr(made.pods["default/n2-1"].net.devices["eth0"], "changed_ns", 1),
        lambda made: made.clock.random("veth/node-2").getrandbits(1),
        lambda made: made.nodes["node-2"].root.devices["cbr0"].fdb.popitem(),  # type: ignore[attr-defined]
        lambda made: made.pods["default/n1-2"].containers.clear(),
        lambda made: made.nodes["node-1"].net.drops.update(["NEIGH_FAILED"]),
    ]
    for change in changes:
        at_once, later = pair(2, placed(2))
        for node in later.nodes.values():
            node.wake()
        change(later)
        assert len(unlike(at_once, later)) >= 1


def test_a_flow_wires_the_nodes_on_its_way() -> None:
    cluster = Cluster(50, load_text(placed(50)).objects, capture=False)
    assert len(unwired(cluster)) == 100
    assert cluster.tcp("default/n3-1", "default/n7-2:80").outcome.word == "refused"
    assert set(cluster.nodes) - set(asleep(cluster)) == {"node-3", "node-7"}
    assert len(unwired(cluster)) == 96
    assert cluster.ping("external", "default/n9-0").delivered
    assert len(unwired(cluster)) == 94


TOUCHES: dict[str, Callable[[Cluster], object]] = {
    "a pod's namespace": lambda made: made.pods["default/n2-1"].net,
    "that of the first pod": lambda made: made.pods["default/n2-0"].net,
    "a pod's result": lambda made: made.pods["default/n2-2"].result,
    "a pod's containers": lambda made: made.pods["default/n2-2"].containers,
    "a node's namespace": lambda made: made.nodes["node-2"].net,
    "a pod's by name": lambda made: made.namespaces["default/n2-1"],
    "the first pod's by name": lambda made: made.namespaces["default/n2-0"],
    "a node's by name": lambda made: made.namespaces["node-2"],
    "a namespace by a reference": lambda made: made.netns("pod/n2-1"),
    "rules": lambda made: made.iptables("node-2", "-A FORWARD -p udp -j DROP"),
    "a link": lambda made: made.link("default/n2-1", delay_ms=1),
    "a setting": lambda made: made.configure("node/node-2", lambda net: None),
    "a packet from outside": lambda made: made.ping("external", "node/node-2"),
    "a packet to no one there": lambda made: made.udp("external", "10.244.2.99:9", timeout_s=1),
    "what the runtime knows": lambda made: made.kubelets[1].runtime.cache,
    "what a plugin works on": lambda made: made.kubelets[1].host,
    "a deletion": lambda made: made.delete("pod", "default", "n2-1"),
    "a deletion at once": lambda made: made.delete("pod", "default", "n2-0", grace_s=0),
    "a drain": lambda made: made.drain("node-2"),
    "a port that a Service opens": lambda made: made.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {selector: {only: here}, ports: [{port: 7}]}}"
    ),
    "a pod of the host's network": lambda made: made.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: h}, spec: {nodeName: node-2, hostNetwork: true, containers: [{name: c}]}}"
    ),
}  # fmt: skip


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_who_touches_a_node(touch: Callable[[Cluster], object]) -> None:
    text = placed(3).replace("name: n2-1, labels: {", "name: n2-1, labels: {only: here, ")
    at_once, later = pair(3, text)
    touch(later)
    assert asleep(later) == ["node-1", "node-3"]
    assert unwired(later) == ["default/n1-1", "default/n1-2", "default/n3-1", "default/n3-2"]
    assert all(device.tap is None for device in later.nodes["node-2"].root.devices.values())
    touch(at_once)
    assert unlike(at_once, later) == []


LOOKS: dict[str, Callable[[Cluster], object]] = {
    "names": lambda made: made.names(),
    "the names of namespaces": lambda made: list(made.namespaces),
    "whether there is one": lambda made: "default/n2-1" in made.namespaces,
    "a pod's address": lambda made: made.pods["default/n2-1"].ip,
    "a pod's object": lambda made: [pod.status for pod in made.store.list(Pod)],
    "how it is shown": lambda made: (repr(made), made._repr_html_(), repr(made.nodes["node-2"])),
    "time": lambda made: made.wait(60),
    "a Service": lambda made: made.apply(
        "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {selector: {app: none}, ports: [{port: 7}]}}"
    ),
    "a copy": lambda made: made.fork(),
    "an ordinary pod": lambda made: made.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: more}, spec: {nodeName: node-2, containers: [{name: c}]}}"
    ),
}  # fmt: skip


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_who_does_not(look: Callable[[Cluster], object]) -> None:
    at_once, later = pair(3, placed(3))
    look(later)
    assert asleep(later) == ["node-1", "node-2", "node-3"]
    look(at_once)
    assert unlike(at_once, later) == []


@pytest.mark.parametrize("before", ["", placed(1)], ids=["as the first there", "as one of several"])
def test_a_name_that_starts_on_another_node_before_it_ends(before: str) -> None:
    """The kubelet of node-1 starts the new db-0 before that of node-2 ends the old one, which has no network by then."""
    pods = placed(2).split("\n---\n")[3:] + [each for each in [before] if each]
    db = (
        "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db}, spec: {replicas: 1, selector: {matchLabels: {app: db}}, "
        "template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c}]}}}}"
    )
    clusters = at_once, later = pair(2, "\n---\n".join(pods))
    for each in clusters:
        each.cordon("node-1")
        each.apply(db)
        if each is later:
            assert "default/db-0" in unwired(later) and later.pods["default/db-0"].node.name == "node-2"
        each.cordon("node-1", unschedulable=False)
        each.cordon("node-2")
        each.delete("pod", "default", "db-0", grace_s=0, settle=False)
        assert each.pods["default/db-0"].node.name == "node-1"
    copies = [each.fork() for each in clusters]
    assert unlike(at_once, later) == []
    for each in copies:
        each.settle()
        assert each.ping("default/db-0", "default/n2-1").delivered
    assert unlike(*copies) == []


@pytest.mark.parametrize("network", ["bridge", "flat", "flannel", "kindnet", "calico"])
def test_what_a_switch_sends_to_all_touches_none_of_the_others(network: str) -> None:
    """ARP's questions for others, and packets to a host that the switch does not know yet."""
    at_once, later = clusters = pair(6, placed(6), network=network, underlay="switched")
    for each in clusters:
        assert each.ping("default/n1-1", "default/n2-2").delivered
    assert set(asleep(later)) == {"node-3", "node-4", "node-5", "node-6"}
    assert unlike(at_once, later) == []


def test_all_namespaces_touch_all_nodes() -> None:
    for values in (lambda made: [*made.namespaces.values()], lambda made: dict(made.namespaces.items())):
        cluster = Cluster(3, load_text(placed(3)).objects, capture=False)
        values(cluster)
        assert asleep(cluster) == unwired(cluster) == []


class Never(NamedTuple):
    """A pod that is wired at its start, and those before it on its node."""

    metadata: str = ""
    spec: str = "containers: [{name: c}]"
    config: dict[str, Any] = {}


_RANGES = '[[{"subnet": "{{.PodCIDR}}"}], [{"subnet": "172.30.0.0/24"}]]'
TWO_RANGES = (
    f'{{"cniVersion": "1.0.0", "name": "two", "plugins": [{{"type": "bridge", "ipam": '
    f'{{"type": "host-local", "ranges": {_RANGES}}}}}]}}'
)
NEVER = {
    "the host's network": Never(spec="hostNetwork: true, containers: [{name: c}]"),
    "a port of the host": Never(spec="containers: [{name: c, ports: [{containerPort: 80, hostPort: 8080}]}]"),
    "a limit": Never("annotations: {kubernetes.io/egress-bandwidth: 1M}"),
    "an app": Never("annotations: {emu/app: http@80}"),
    "a talk": Never("annotations: {emu/app: script@25, emu/script: '- {server: hello}'}"),
    "an end": Never("annotations: {emu/runs: 5s}", "restartPolicy: Never, containers: [{name: c}]"),
    "one port twice": Never(
        spec="containers: [{name: a, ports: [{containerPort: 80}]}, {name: b, ports: [{containerPort: 80}]}]"
    ),
    "a network with an address of each of two ranges": Never(config={"network": TWO_RANGES}),
}


@pytest.mark.parametrize("case", NEVER.values(), ids=NEVER)
def test_what_is_never_put_off(case: Never) -> None:
    pod = f"{{apiVersion: v1, kind: Pod, metadata: {{name: it, {case.metadata}}}, spec: {{nodeName: node-1, {case.spec}}}}}"
    at_once, later = pair(2, f"{placed(2)}\n---\n{pod}", **case.config)
    assert [name for name in unwired(later) if later.pods[name].node.name == "node-1"] == []
    assert ("node-2" in asleep(later)) is not bool(case.config)
    assert unlike(at_once, later) == []
    assert later.warnings == at_once.warnings


def test_a_capture_sees_each_pod_announced() -> None:
    cluster = Cluster(2, load_text(placed(2)).objects)
    assert unwired(cluster) == [] and len(cluster.capture.frames(interface="default/n2-2/eth0")) == 1  # type: ignore[union-attr]


def test_a_capture_that_begins_behind_the_build() -> None:
    """It has the flow, and no frame of a wiring, whenever that was; what it lacks comes when someone asks for all of it."""
    first, _, later = captured(50, placed(50))
    assert len(unwired(later)) == 100
    files = []
    for each in (first, later):
        flow = each.tcp("default/n3-1", "default/n7-2:80")
        files.append(BytesIO())
        assert each.capture is not None
        each.capture.write(files[-1], flow=flow.number)
        assert flow.outcome.word == "refused" and [frame.line() for frame in flow.frames]
    assert files[0].getvalue() == files[1].getvalue()
    assert set(later.nodes) - set(asleep(later)) == {"node-3", "node-7"}
    capture = later.capture
    assert capture is not None and {each.flow for each in capture.frames()} == {1}
    assert len(capture.places) < 500
    assert [each.name for each in capture.find(["default/n9-1/eth0"])] == ["default/n9-1/eth0"]
    assert asleep(later) == [] and len(capture.interfaces) == len(capture.places) > 800


def test_a_pod_that_starts_under_a_capture_is_announced_there() -> None:
    first, at_once, later = captured(3, placed(3))
    for each in (first, at_once, later):
        assert each.capture is not None
        since = each.capture.mark()
        each.apply(
            "{apiVersion: v1, kind: Pod, metadata: {name: more}, spec: {nodeName: node-2, containers: [{name: c}]}}"
        )
        seen = [frame.interface for frame in each.capture.frames(since=since)]
        assert len(seen) == 3 and seen.count("default/more/eth0") == 1
        each.wait(60)
    assert asleep(later) == ["node-1", "node-3"]


def test_what_a_capture_records_is_as_it_was_when_the_record_began() -> None:
    found = []
    for each in captured(3, placed(3))[1:]:
        assert each.capture is not None
        states = each.capture.record()
        assert each.ping("default/n1-1", "default/n3-2").delivered
        found.append((states.first, sorted(states.opening), states.changes(), states.at()))
    assert found[0] == found[1] and len(found[0][0]) > 9


def test_addresses_run_out() -> None:
    """The error of the pod that gets none, and what is left then; and an address that comes back."""
    ipam = '{"type": "host-local", "ranges": [[{"subnet": "{{.PodCIDR}}", "rangeStart": "10.244.1.2", "rangeEnd": "10.244.1.4"}]]}'
    few = f'{{"cniVersion": "1.0.0", "name": "few", "plugins": [{{"type": "bridge", "isGateway": true, "ipam": {ipam}}}]}}'
    at_once, later = clusters = pair(1, placed(1), network=few)
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: more}, spec: {nodeName: node-1, containers: [{name: c}]}}"
    assert len(unwired(later)) == 2
    errors = set()
    for each in clusters:
        with pytest.raises(InputError, match="no IP addresses available") as caught:
            each.apply(pod)
        errors.add(str(caught.value))
    assert len(errors) == 1 and unlike(at_once, later) == []
    clusters = pair(1, placed(1), network=few)
    for each in clusters:
        each.delete("pod", "default", "n1-1")
        each.apply(pod)
        assert str(each.pods["default/more"].ip) == "10.244.1.3"
    assert unlike(*clusters) == []


def test_a_wrong_network_is_an_error_at_once() -> None:
    """The first pod of a node shows it."""
    text = '{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge", "ipam": {"type": "nonesuch"}}]}'
    for kind in (AtOnce, Cluster):
        with pytest.raises(InputError, match='failed to find plugin "nonesuch"'):
            kind(ClusterConfig.of(1, network=text), load_text(placed(1)).objects, capture=False)


def test_plugins_that_do_more_than_a_port(tmp_path: Path) -> None:
    """Their pods are wired at their start."""
    ranges = '[{"subnet": "{{.PodCIDR}}"}]'
    for more, keys, own in (
        ("", '"isGateway": true, "ipMasq": true, ', ranges), ("", '"vlan": 5, ', ranges), ("", '"macspoofchk": true, ', ranges),
        ("", '"promiscMode": true, ', ranges), (', {"type": "firewall"}', "", ranges),
        (', {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.arp_filter": "1"}}', "", ranges),
        ("", '"isGateway": true, "forceAddress": true, ', '[{"subnet": "10.244.1.0/30"}, {"subnet": "10.244.1.8/29"}]'),
        ("", "", f'{ranges}, [{{"subnet": "10.9.0.0/16"}}]'),
    ):  # fmt: skip
        ipam = f'"ipam": {{"type": "host-local", "ranges": [{own}]}}'
        file = tmp_path / "net.conflist"
        text = f'{{"cniVersion": "1.0.0", "name": "net", "plugins": [{{"type": "bridge", {keys}{ipam}}}{more}]}}'
        file.write_text(text)
        at_once, later = pair(1, placed(1), network=str(file))
        assert unwired(later) == [], (more, keys, own)
        assert unlike(at_once, later) == []


def test_an_untouched_copy_is_touched_alone() -> None:
    cluster = Cluster(3, load_text(f"{WEB}---\n{placed(3)}").objects, capture=False)
    copy, snapshot = cluster.fork(), cluster.snapshot()
    assert unwired(copy) == unwired(cluster) != [] and shared(cluster, copy) == []
    assert copy.tcp("default/n1-1", "svc/web:80", b"x").delivered
    assert len(asleep(copy)) < 3 and len(asleep(cluster)) == 3
    assert cluster.tcp("default/n1-1", "svc/web:80", b"x").delivered
    assert unlike(copy, cluster) == []
    again = snapshot.fork()
    assert len(asleep(again)) == 3
    assert again.tcp("default/n1-1", "svc/web:80", b"x").delivered
    assert unlike(again, cluster) == []


def test_a_wiring_that_costs_otherwise_is_no_guess() -> None:
    """Time has passed by what the first pod showed: another cost would be a fault, and is none that goes unseen."""
    cluster = Cluster(1, load_text(placed(1)).objects, capture=False)
    later = cluster.nodes["node-1"].later
    assert isinstance(later, Unwired) and later.pods
    cluster.nodes["node-1"].root.devices["cbr0"].ports[0].device.clock.hop_ns += 1  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="another cost"):
        cluster.nodes["node-1"].wake()


def test_the_same_frames_at_the_same_times() -> None:
    """What crosses the cables between the nodes, by the underlay's own taps, which touch no node."""
    seen: list[list[tuple[int, str, int, bytes]]] = []
    for cluster in pair(4, f"{WEB}---\n{placed(4)}", underlay="switched"):
        frames: list[tuple[int, str, int, bytes]] = []
        seen.append(frames)
        for name, net in cluster.underlay.namespaces.items():
            for device in net.devices.values():
                device.tap = partial(_note, cluster, frames, f"{name}/{device.name}")
        assert cluster.tcp("external", "node/node-2:30080", b"x").delivered
        cluster.drain("node-3")
        assert cluster.ping("default/n1-2", "default/n4-1").delivered
        cluster.wait(60)
    assert len(seen[0]) > 50 and seen[0] == seen[1]


def _note(
    cluster: Cluster, frames: list[tuple[int, str, int, bytes]], where: str, frame: Frame, direction: int
) -> None:
    frames.append((cluster.clock.now, where, direction, bytes(frame.buf)))
