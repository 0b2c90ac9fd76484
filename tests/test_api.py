"""What people touch in Python: how objects come in, how things show themselves, which input is refused, and that types are whole."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

import emu
from emu.capture.captured import Captured
from emu.capture.interface import Interface
from emu.errors import InputError
from emu.fork import Snapshot
from emu.kernel.net.fib_semantics import Route
from emu.kernel.netfilter.conn import Conn
from emu.kube.flow.ends import Target
from emu.kube.flow.flow import Flow
from emu.kube.flow.outcome import WORDS, Nat, Outcome
from emu.kube.flow.verbs import Verbs
from emu.kube.node.node import Node, Sandbox
from emu.progress import Steps
from emu.wire.addr import Prefix, ip4
from emu.wire.shown import Ip4

TEXT = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-1, containers: [{name: a}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-2, containers: [{name: a, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.80, selector: {app: web}, ports: [{port: 80}]}
"""
POD: dict[str, object] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "a"},
    "spec": {"containers": [{"name": "a"}]},
}
TYPED = emu.Pod(metadata=emu.ObjectMeta(name="b"), spec=emu.PodSpec(containers=(emu.Container(name="a"),)))


@pytest.fixture
def cluster() -> emu.Cluster:
    return emu.Cluster(2, TEXT)


def names(objects: list[emu.Object]) -> list[str]:
    return [f"{each.kind}/{each.name}" for each in objects]


# -- objects -------------------------------------------------------------------------------------------


def test_objects_come_from_everything(tmp_path: Path) -> None:
    file = tmp_path / "pods.yaml"
    file.write_text(TEXT)
    all_three = ["Pod/client", "Pod/web", "Service/web"]
    for source in (
        TEXT,
        file,
        str(file),
        tmp_path,
        [file],
        [str(file)],
        emu.load(file),
        emu.objects(TEXT),
        (TEXT,),
    ):
        assert names(emu.objects(source)) == all_three
        assert names(emu.load(source).objects) == all_three
    assert names(emu.objects(iter([POD, TYPED]))) == ["Pod/a", "Pod/b"]
    assert names(emu.objects(POD, TYPED)) == names(emu.objects([POD, [TYPED]])) == ["Pod/a", "Pod/b"]
    assert names(emu.objects({"apiVersion": "v1", "kind": "List", "items": [POD]})) == ["Pod/a"]
    assert names(emu.objects('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "j"}, "spec": {"containers": [{"name": "a"}]}}')) == ["Pod/j"]  # fmt: skip
    assert emu.objects(POD, namespace="shop")[0].namespace == "shop"
    assert emu.objects() == [] and emu.objects("\n") == []


@pytest.mark.parametrize(
    "source",
    [TEXT, "pods.yaml", ["pods.yaml"], Path("pods.yaml"), Path(), POD, [POD], [POD, TYPED], TYPED, [TYPED], ()],
)
def test_a_cluster_takes_everything(source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pods.yaml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    assert len(emu.Cluster(1, source).pods) in (0, 1, 2)
    assert bool(emu.Cluster(2, source).pods) is (source != ())


def test_a_running_cluster_takes_manifests(cluster: emu.Cluster) -> None:
    cluster.apply(POD)
    cluster.apply("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 1}]}\n")
    assert "default/a" in cluster.pods and cluster.resolve("svc/a:1").port == 1
    assert cluster.apply(TYPED).name == "b"


# what a type checker would refuse
UNTYPED: list[Any] = [3, None, {**POD, "spec": {"containers": 1}}, "two", [POD]]
REFUSED = {
    "a number": (lambda: emu.objects(UNTYPED[0]), "something of type int is no manifest (expected a path, the text of manifests, a dict, an object, or a list of these)"),
    "in a list": (lambda: emu.objects([POD, UNTYPED[1]]), "[1]: None is no manifest (expected"),
    "no such file": (lambda: emu.load("x.yaml"), "x.yaml: No such file or directory"),
    "a field, with its place": (lambda: emu.objects([POD, UNTYPED[2]]), "[1].spec.containers: "),
    "no kind": (lambda: emu.objects({"apiVersion": "v1"}), "kind is missing"),
    "twice": (lambda: emu.objects(POD, POD), "[1]: pod/a is declared twice"),
    "twice in a text": (lambda: emu.objects(TEXT, TEXT), "declared twice, first at line 2"),
    "a scenario": (lambda: emu.Cluster(2, "apiVersion: emu/v1\nkind: Scenario\n"), "a scenario is no manifest (expected emu.run(FILE), or its manifests alone)"),
    "no nodes": (lambda: emu.Cluster(0), "cluster.nodes: a cluster of 0 nodes (expected 1 to 5000)"),
    "fewer": (lambda: emu.Cluster(-1), "cluster.nodes: a cluster of -1 nodes (expected 1 to 5000)"),
    "too many": (lambda: emu.Cluster(100_000), "cluster.nodes: a cluster of 100000 nodes (expected 1 to 5000)"),
    "no config": (lambda: emu.Cluster(UNTYPED[3]), "a cluster of 'two' (expected a number of nodes or a ClusterConfig, then the objects)"),
    "objects first": (lambda: emu.Cluster(UNTYPED[4]), "a cluster of a list (expected a number of nodes or a ClusterConfig, then the objects)"),
    "an empty config": (lambda: emu.Cluster(emu.ClusterConfig(nodes=())), "cluster.nodes: a cluster without nodes (expected 1 node or more)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_manifest_is_one_clear_message(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises(InputError) as failure:
        call()
    assert message in str(failure.value)


# -- ranges --------------------------------------------------------------------------------------------

C, W = "default/client", "svc/web:80"
CALLS: dict[str, tuple[Callable[[emu.Cluster], object], str]] = {
    "text": (lambda c: c.tcp(C, W, "hi"), "send is text (expected bytes, such as b'hi')"),  # type: ignore[arg-type]
    "text by udp": (lambda c: c.udp(C, W, "hi"), "send is text (expected bytes, such as b'hi')"),  # type: ignore[arg-type]
    "no bytes": (lambda c: c.tcp(C, W, 7), "send is of type int (expected bytes)"),  # type: ignore[arg-type]
    "port": (lambda c: c.tcp(C, W, port=70000), "port is 70000 (expected 0 to 65535)"),
    "port below": (lambda c: c.udp(C, W, port=-1), "port is -1 (expected 0 to 65535)"),
    "count": (lambda c: c.ping(C, "default/web", count=0), "count is 0 (expected 1 or more)"),
    "size": (lambda c: c.ping(C, "default/web", size=65508), "size is 65508 (expected 0 to 65507)"),
    "ttl": (lambda c: c.ping(C, "default/web", ttl=256), "ttl is 256 (expected 0 to 255)"),
    "interval": (lambda c: c.ping(C, "default/web", interval_s=-1), "interval_s is -1 (expected 0 or more)"),
    "timeout": (lambda c: c.tcp(C, W, timeout_s=float("nan")), "timeout_s is nan (expected 0 or more)"),
    "loss": (lambda c: c.link("node-1", loss=3), "loss is 3 (expected 0 to 1)"),
    "delay": (lambda c: c.link("node-1", delay_ms=-3), "delay_ms is -3 (expected 0 or more)"),
    "mtu": (lambda c: c.link("node-1", mtu=10), "mtu is 10 (expected 68 to 65535)"),
    "wait": (lambda c: c.wait(-1), "seconds is -1 (expected 0 or more)"),
    "an end": (lambda c: c.tcp(None, W), "None names no end of a flow (expected text, such as default/web or svc/web:80)"),  # type: ignore[arg-type]
    "rules": (lambda c: c.iptables("node-1", "-Z"), "'-Z' is no command of iptables"),
    "no rules": (lambda c: c.iptables("node-1", "# none"), "no rule is changed (expected -A CHAIN ..., or the text of iptables-save)"),
    "no node": (lambda c: c.node("node-9"), "no node is called 'node-9' (expected 'node-2'?)"),
    "a socket's text": (lambda c: c.pods[C].net.sockets.udp().sendto("x", ("10.0.0.1", 9)), "the data to send is text (expected bytes, such as b'x')"),
    "a socket's port": (lambda c: c.pods[C].net.sockets.tcp().connect(("10.0.0.1", 65536)), "port is 65536 (expected 0 to 65535)"),
    "a bound port": (lambda c: c.pods[C].net.sockets.udp().bind(("0.0.0.0", 65536)), "port is 65536 (expected 0 to 65535)"),
}  # fmt: skip


OWN_TYPES = pytest.mark.pure("a compiled function refuses another type itself")


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[OWN_TYPES] * (each == "a socket's text")) for each in CALLS]
)
def test_what_is_out_of_range_is_one_clear_message(name: str) -> None:
    cluster = emu.Cluster(2, TEXT)
    call, message = CALLS[name]
    with pytest.raises(InputError) as failure:
        call(cluster)
    assert message in str(failure.value)
    assert not cluster.flows, "and no flow began"


def test_a_lab_refuses_too() -> None:
    lab = emu.Lab(capture=False)
    one, other = lab.host("one"), lab.host("other")
    with pytest.raises(
        InputError, match=r"'10.0.0.1' has no length \(expected an address and a length, such as 10.0.0.1/24\)"
    ):
        lab.cable(one, "10.0.0.1", other, "")
    with pytest.raises(InputError, match="seconds is -1"):
        lab.run(-1)
    with pytest.raises(InputError, match=r"nothing was captured \(expected a lab with capture=True\)"):
        lab.frames()


def test_without_a_capture_there_are_no_frames_and_no_file(tmp_path: Path) -> None:
    cluster = emu.Cluster(1, TEXT.replace("node-2", "node-1"), capture=False)
    flow = cluster.tcp(C, "http://web.default.svc.cluster.local", b"x") if cluster.config.dns else cluster.tcp(C, W)
    assert flow.delivered
    for call in (lambda: flow.frames, lambda: flow.packets, lambda: cluster.write(tmp_path / "x.pcapng")):
        with pytest.raises(InputError, match=r"nothing was captured \(expected a cluster with capture=True\)"):
            call()


# -- verbs ---------------------------------------------------------------------------------------------


def test_rules_can_be_planted_and_taken_away(cluster: emu.Cluster) -> None:
    cluster.iptables("node-2", "-I FORWARD -p tcp -j DROP\n\n-t nat -N MINE")
    flow = cluster.tcp(C, W, b"x", timeout_s=1)
    assert flow.dropped and flow.outcome.by == "-A FORWARD -p tcp -j DROP"
    cluster.iptables("node/node-2", "-D FORWARD 1")
    assert cluster.tcp(C, W, b"x").delivered
    cluster.iptables(C, "*filter\n-A OUTPUT -p tcp -j DROP\nCOMMIT\n")
    assert cluster.tcp(C, W, b"x").dropped


def test_a_capture_is_written(cluster: emu.Cluster, tmp_path: Path) -> None:
    flow, other = cluster.tcp(C, W), cluster.ping(C, "default/web")
    path = tmp_path / "one.pcapng"
    assert cluster.write(path, flow=flow) == len(flow.frames)
    assert cluster.write(path, flow=other.number) == len(other.frames)
    assert cluster.write(path) > len(flow.frames) + len(other.frames)


def test_each_word_of_an_outcome_is_a_property(cluster: emu.Cluster) -> None:
    flow = cluster.tcp(C, W)
    for word in WORDS:
        flow.outcome = Outcome(word)
        assert [each for each in WORDS if getattr(flow, each)] == [word]


# -- how things show themselves --------------------------------------------------------------------------


def test_reprs_are_short_and_begin_with_what_matters(cluster: emu.Cluster) -> None:
    flow = cluster.tcp(C, W, b"hi")
    assert (
        repr(flow)
        == "<delivered: tcp default/client -> svc/web:80 (10.96.0.80:80), DNAT 10.96.0.80:80 -> 10.244.2.2:80, flow 1>"
    )
    lost = cluster.udp("node/node-1", "10.244.2.200:9", b"x", timeout_s=4)
    assert repr(lost).startswith("<rejected (host-unreachable) at node-2/cbr0: udp node-1 -> 10.244.2.200:9, ")
    assert repr(cluster) == f"<Cluster of 2 nodes, 2 pods, 2 flows, at {cluster.clock.now / 1e9:.3f} s>"
    assert repr(cluster.node("node-1")) == "<node node-1 192.168.51.11, 1 pods>"
    assert repr(cluster.pod(C)) == "<pod default/client 10.244.1.2 on node-1>"
    assert repr(cluster.netns("default/web")) == "<netns default/web>"
    assert repr(flow.outcome) == "<delivered>" and repr(lost.outcome) == "<rejected (host-unreachable) at node-2/cbr0>"
    assert repr(flow.target) == "<svc/web:80 (10.96.0.80:80)>" and repr(cluster.resolve("10.0.0.1:9")) == "<10.0.0.1:9>"
    route = cluster.netns(C).ipv4.fib.lookup(ip4("10.244.2.2"))
    assert repr(route) == "<route default via 10.244.1.1 dev eth0>"
    assert repr(cluster.capture).startswith("<capture of ") and "interfaces" in repr(cluster.capture)
    conn = next(each for each in cluster.node("node-1").net.conntrack if each.natted)
    assert repr(conn).startswith(
        "<tcp TIME_WAIT 10.244.1.2:"
    ) and " -> 10.96.0.80:80, answered 10.244.2.2:80 -> " in repr(conn)
    assert repr(emu.Lab()) == "<lab of no host, at 0.000 s>"
    assert repr(Prefix.parse("10.0.0.0/8")) == "10.0.0.0/8"
    assert repr(flow.frames[0]).startswith("<1/1 ")


def test_addresses_print_as_addresses(cluster: emu.Cluster) -> None:
    flow = cluster.tcp(C, W)
    shown = [cluster.pod(C).ip, cluster.node("node-1").ip, flow.target.addr, cluster.resolve("default/web:80").addr]
    assert [f"{each}" for each in shown] == list(map(repr, shown)) == list(map(str, shown))
    assert [*map(str, shown)] == ["10.244.1.2", "192.168.51.11", "10.96.0.80", "10.244.2.2"]
    assert shown[0] == ip4("10.244.1.2") and hash(shown[0]) == hash(ip4("10.244.1.2"))
    assert ip4(Ip4(5)).__class__ is int, "the walk has plain ints"
    assert str(flow.translations) == "{DNAT 10.96.0.80:80 -> 10.244.2.2:80: None}"


def test_no_address_of_what_people_see_reaches_the_walk(cluster: emu.Cluster) -> None:
    """An int of a class of its own is slower, and would show up wherever frames' fields are printed."""
    for flow in (cluster.tcp(C, W), cluster.udp(C, "default/web:80", timeout_s=1), cluster.ping(C, "default/web")):
        for _name, ends in flow.arrivals:
            assert {each.__class__ for each in ends} == {int}
    for net in cluster.namespaces.values():
        for conn in net.conntrack or ():
            assert {each.__class__ for each in (*conn.orig, *conn.reply)} == {int}
        assert {address.addr.__class__ for address in net.ipv4.addresses} <= {int}


HTML = {
    "flow": lambda c: c.flows[1],
    "cluster": lambda c: c,
    "tables": lambda c: c.node("node-1").net.ipv4.tables,
}


@pytest.mark.parametrize("name", HTML)
def test_notebooks_show_plain_escaped_html(name: str, cluster: emu.Cluster) -> None:
    cluster.tcp(C, W, name="<script>alert('&')</script>")
    cluster.iptables("node-1", '-A INPUT -m comment --comment "<b>x</b>" -j ACCEPT')
    text = HTML[name](cluster)._repr_html_()
    assert text.startswith("<p><b>") and "<table>" in text and "<script>" not in text and "<b>x" not in text
    assert len(text.partition("<iframe")[0]) < 40_000


def test_a_flow_is_shown_with_its_page(cluster: emu.Cluster, tmp_path: Path) -> None:
    flow = cluster.tcp(C, W)
    shown = flow._repr_html_()
    frame = shown[shown.index("<iframe ") :]
    assert unescape(frame.partition('srcdoc="')[2].partition('" style')[0]) == flow.html()
    assert flow.html(tmp_path / "flow.html") == (tmp_path / "flow.html").read_text(encoding="utf-8")
    flow.html(tmp_path / "flow.html")  # one that emu wrote is replaced
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(InputError, match="emu did not write it"):
        flow.html(tmp_path / "mine.html")


def test_without_frames_there_is_no_page() -> None:
    bare = emu.Cluster(1, capture=False)
    flow = bare.ping("node/node-1", "node/node-1")
    assert "<iframe" not in flow._repr_html_()
    with pytest.raises(InputError, match="nothing was captured"):
        flow.html()


def test_a_view_is_shown_as_text() -> None:
    from emu.report import Report

    assert Report({}, "a  b\n<c>")._repr_html_() == "<p><b></b></p><pre>a  b\n&lt;c&gt;</pre>"


class Terminal:
    def __init__(self, *, real: bool) -> None:
        self.real, self.text = real, ""

    def isatty(self) -> bool:
        return self.real

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        """Nothing waits."""


@pytest.mark.parametrize(("real", "total", "shown"), [(True, 400, True), (False, 400, False), (True, 10, False)])
def test_a_long_build_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch, real: bool, total: int, shown: bool) -> None:
    """On a terminal only, in one line that is gone at the end."""
    terminal = Terminal(real=real)
    monkeypatch.setattr(sys, "stderr", terminal)
    steps = Steps("building", total)
    for _ in range(total):
        steps.done()
    with steps.last("waiting"):
        assert ("building: 50 %" in terminal.text) is shown
    assert terminal.text.endswith("\r\x1b[K") is shown
    assert bool(terminal.text) is shown


# -- types ---------------------------------------------------------------------------------------------

TOUCHED = (
    emu.Cluster, Verbs, Flow, Outcome, Nat, Target, Node, Sandbox, Conn, Route, Captured, Interface, emu.Lab, Snapshot,
    emu.Capture, emu.Run,
)  # fmt: skip
# a route's device is of the kernel's own making, and a disk has what each plugin and agent keeps there
EXCEPT = {
    "Route.device", "Route.uses", "Node.disk",
}  # fmt: skip


def notes_of(kind: type) -> dict[str, list[str]]:
    """The annotations of a class's public fields and methods, as they are written."""
    tree = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, list[str]] = {}
    for each in tree.body:
        if isinstance(each, ast.FunctionDef) and (not each.name.startswith("_") or each.name == "__init__"):
            arguments = [*each.args.posonlyargs, *each.args.args, *each.args.kwonlyargs]
            notes = [argument.annotation for argument in arguments if argument.arg not in ("self", "cls")]
            found[each.name] = ["" if note is None else ast.unparse(note) for note in [*notes, each.returns]]
    for part in ast.walk(tree):
        if isinstance(part, ast.AnnAssign) and (part in tree.body or isinstance(part.target, ast.Attribute)):
            name = ast.unparse(part.target).removeprefix("self.")
            if not name.startswith("_"):
                found[name] = [ast.unparse(part.annotation)]
    return found


@pytest.mark.pure("it reads the sources of classes")
@pytest.mark.parametrize("kind", TOUCHED, ids=lambda kind: kind.__name__)
def test_what_people_touch_has_whole_types(kind: type) -> None:
    vague = {
        f"{kind.__name__}.{name}": notes
        for name, notes in notes_of(kind).items()
        if any(re.search(r"\bAny\b", note) or not note for note in notes)
    }
    assert {name: notes for name, notes in vague.items() if name not in EXCEPT} == {}
