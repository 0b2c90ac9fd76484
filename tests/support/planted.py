"""Faults that are planted in the emulator, each in another room, and the judge that has to find it.

A fault is a function that patches one function, table or constant. A judge gives what it found, as texts: a twin's
scenario, the CNI plugins' wiring, kube-proxy's own cases, or a check of this module.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from emu.clock import MS
from emu.kernel.sysctl import Sysctls
from emu.kube.cluster import Cluster
from emu.scenario import build
from emu.scenario import run as scenario_run
from emu.scenario.script import load_text
from emu.twin import judge, sysctls
from emu.twin.space import Space
from emu.twin.wiring import Pod, compared
from emu.wire.frame import TCP
from emu.wire.tcp import PSH, SYN
from twin_changes import chat, more
from twin_rows import ECHO, np, ping, send, tcp, udp
from twins import scenario

Plant = Callable[[pytest.MonkeyPatch], None]
Judge = Callable[[], list[str]]
THIRD = "apiVersion: v1\nkind: Pod\nmetadata: {name: idle}\nspec: {nodeName: node-1, containers: [{name: idle}]}\n"
NONE = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: none}\n"
    "spec: {clusterIP: 10.96.0.78, selector: {app: none}, ports: [{port: 80}]}\n"
)
TWO = "\n---\n".join(
    f'apiVersion: v1\nkind: Pod\nmetadata: {{name: two-{n}, labels: {{app: two}}, annotations: {{emu/app: "http@8080"}}}}\n'
    f"spec: {{nodeName: node-2, containers: [{{name: two, ports: [{{containerPort: 8080}}]}}]}}"
    for n in (1, 2)
) + (
    "\n---\napiVersion: v1\nkind: Service\nmetadata: {name: two}\n"
    "spec: {clusterIP: 10.96.0.79, selector: {app: two}, ports: [{port: 80, targetPort: 8080}]}\n"
)
SCENARIOS: dict[str, str] = {
    "across": scenario(ping("default/web")),
    "service": scenario(tcp("svc/web:80")),
    "same node": scenario(ping("default/web") + tcp("svc/web:80"), node="node-1", cluster="{nodes: 1}", more=THIRD),
    "datagrams": scenario(udp("svc/web:53") + udp("default/web:99") * 4),
    "fragments": scenario(udp("default/web:53", send="y" * 3000)),
    "node port": scenario(tcp("node/node-1:30080", frm="external"), more=np()),
    "refused": scenario(tcp("svc/none:80") + tcp("default/web:99"), more=NONE),
    "ttl": scenario(send(f"IP(dst='10.244.2.2', ttl=1)/UDP(sport=5, dport=53)/'{'x' * 900}'")),
    "outside": scenario(udp("external:9999", send="q" * 40) + ping("10.96.9.9")),
    "two endpoints": scenario(tcp("svc/two:80"), more=TWO),
    "narrow": scenario("- link: {node: node-2, mtu: 1300}\n" + udp("default/web:53", send="z" * 1400) * 2),
    "changed": scenario("- link: {node: node-2, mtu: 1300}\n" + ping("10.96.9.9")),
    "kept open": scenario(
        chat("default/echo:7") + "- wait: 2s\n" + more("still") + "- wait: 6s\n" + more("end", close="true"), more=ECHO
    ),
    "circle": scenario(
        udp("10.244.1.99:7", send="r", frm="node/node-2", connected="false", timeout="300ms"),
        cluster="{nodes: 2, underlay: switched}",
        pods="\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: node-2, containers: [{name: p}]}\n",
    ),
    "spoofed": scenario(
        send("IP(src='1.2.3.4', dst='10.244.2.2')/UDP(sport=5, dport=53)/'x'"),
        cluster="{nodes: 2, sysctls: {net.ipv4.conf.all.rp_filter: 1}}",
    ),
}


class Fault(NamedTuple):
    """`room` is where it is planted, `what` the fault; `sign` is a part of what the judge has to find."""

    room: str
    what: str
    plant: Plant
    judge: Judge
    sign: str


def found(name: str) -> list[str]:
    """The differences of the twin in one of the scenarios."""
    report = judge(load_text(SCENARIOS[name]))
    if report.undecided:
        return [f"undecided: {report.undecided}"]
    return [
        f"{each.what} at {each.where}: kernel {each.pair[0]} | emu {each.pair[1]}" for _flow, each in report.differences
    ]


def twin(name: str) -> Judge:
    return lambda: found(name)


# -- judges without flows -----------------------------------------------------------------------


def defaults() -> list[str]:
    """Each default that differs from the kernel's in a namespace to which nothing was written."""
    space, values, rich = Space("fresh"), Sysctls(), sysctls.plenty()
    values.add_device("lo")
    try:
        return [
            f"sysctl {name} = {kernel} | {emu}"
            for name, kernel, emu in sysctls.defaults(space, values)
            if kernel not in (None, emu) and not sysctls.unjudged(name, rich)
        ]
    finally:
        space.close()


def wiring() -> list[str]:
    """How the real CNI plugins wire one pod otherwise."""
    cluster = cluster_of(scenario(ping("node/node-1"), cluster="{nodes: 1, hairpin: true}", pods=ONE))
    kubelet = cluster.kubelets[0]
    pods = [
        Pod(each.name, each.net, "one", each.result, each.capability_args) for each in kubelet.node.sandboxes.values()
    ]
    return [
        f"{each.what} at {each.where}: {each.kernel} | {each.emu}"
        for each in compared("node-1", kubelet.node.net, kubelet.network, pods)
    ]


ONE = "\napiVersion: v1\nkind: Pod\nmetadata: {name: client}\nspec: {nodeName: node-1, containers: [{name: client}]}\n"


@cache
def _cases() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[1] / "kube" / "proxy" / "test_cases.py"))


def proxy(case: str) -> Judge:
    """kube-proxy's own case, run on a whole node."""

    def run() -> list[str]:
        names = _cases()
        (path,) = (each for each in names["CASES"] if each.stem == case)
        try:
            names["run"](path, whole=True)
        except AssertionError as error:
            return [f"case {case}: {error}"]
        return []

    return run


def cluster_of(text: str) -> Cluster:
    script = load_text(text)
    return Cluster(build.configured(script), script.objects, seed=script.spec.seed)


def nodes() -> list[str]:
    """The plan of a cluster's addresses: each node's address and pod CIDR, and the routes between them."""
    cluster = cluster_of(scenario(ping("default/web"), cluster="{nodes: 3, underlay: switched}"))
    wanted = {f"node-{n}": (f"192.168.50.{10 + n}", f"10.244.{n}.0/24") for n in (1, 2, 3)}
    plan = {
        name: (str(node.net.ipv4.addresses[1]).partition("/")[0], str(node.pod_cidr))
        for name, node in cluster.nodes.items()
    }
    others = {each.text() for each in cluster.nodes["node-1"].net.ipv4.fib.table(254) if each.gateway}
    lost = [
        f"node-1 has no route to 10.244.{n}.0/24"
        for n in (2, 3)
        if not any(f"10.244.{n}.0/24 via 192.168.50.{10 + n} " in f"{text} " for text in others)
    ]
    return [*([f"plan {plan}"] if plan != wanted else []), *lost]


def outcomes() -> list[str]:
    """What the clients of refused connections see: the code of flows runs on both sides of the twin."""
    ran = scenario_run.run(load_text(SCENARIOS["refused"]))
    words = [f"{flow.outcome.word} {flow.outcome.detail}" for flow in ran.cluster.flows.values()]
    wanted = ["rejected port-unreachable", "refused RST"]
    return [] if words == wanted else [f"{words}, not {wanted}"]


def announced() -> list[str]:
    """A link that comes up with arp_notify announces each of its addresses (inetdev_send_gratuitous_arp)."""
    capture = cluster_of(scenario(ping("node/node-1"), cluster="{nodes: 1}", pods=ONE)).capture
    assert capture is not None
    sent = [
        each.data
        for each in capture.frames(since=0, until=capture.mark())
        if each.interface == "default/client/eth0" and each.way == "out" and each.data[12:14] == b"\x08\x06"
    ]
    # a request for the sender's own address
    return [] if any(data[28:32] == data[38:42] for data in sent) else ["no announcement of the pod's address"]


def delays() -> list[str]:
    """Two of TCP's timers, as a kernel was seen to keep them: a SYN again after 1 s, an ACK after 40 ms (each rounded up by at
    most a tick, and 6.5 % from 1 s on)."""
    text = scenario(
        ping("default/echo") * 2
        + "- link: {node: node-1, lose: [0]}\n- name: talk\n  "
        + tcp("default/echo:7", send="abc", close="false").removeprefix("- ")
        + "- more: {of: talk, send: def, close: false}\n- wait: 300ms\n",
        more=ECHO,
    )
    capture = scenario_run.run(load_text(text)).cluster.capture
    assert capture is not None
    seen = [
        (each.time_ns, each.way, each.data[47])
        for each in capture.frames(since=0, until=capture.mark())
        if each.interface == "default/client/eth0" and each.data[12:14] == b"\x08\x00" and each.data[23] == TCP
    ]
    syns = [time_ns for time_ns, way, flags in seen if way == "out" and flags == SYN]
    answer = max(time_ns for time_ns, way, flags in seen if way == "in" and flags & PSH)
    acknowledged = next((time_ns for time_ns, way, _ in seen if way == "out" and time_ns > answer), answer)
    again_ms, late_ms = (syns[1] - syns[0]) / MS, (acknowledged - answer) / MS
    problems = [] if 1000 <= again_ms <= 1069 else [f"a SYN again after {again_ms} ms"]
    return problems + ([] if 40 <= late_ms <= 48 else [f"an ACK after {late_ms} ms"])
