"""Changes of a cluster while connections are open, each judged by this machine's kernel: deletions, drains, scalings, links.

What ends, changes and is deleted does so at the same times on both sides; the frames of a change are compared, too.
"""

from __future__ import annotations

import pytest

from twin_changes import ENDPOINT, NEAR, SERVICE, SLOW, S, chat, hi, more, of, text
from twin_rows import ping, tcp, udp
from twins import agrees, needs_twin

pytestmark = needs_twin

SETTLE_NOT = "  settle: false\n"
ROWS: dict[str, str] = {
    # deletions
    "delete a pod with an open connection": text(
        chat("svc/s:80") + more("again") + "- delete: pod/e\n" + more("dead", close="true") + hi("svc/s:80")
    ),
    "delete a pod on the client's node": text(
        chat("default/near:7") + "- delete: pod/near\n" + more("dead", close="true") + ping("default/client", frm="node/node-1"),
        NEAR,
    ),
    "delete a pod that serves for its grace period": text(
        chat("default/e:7") + "- delete: pod/e\n" + SETTLE_NOT + more("still") + "- wait: 5s\n" + more("gone", close="true"),
        SLOW,
    ),
    "delete a pod in the middle of a flow": text(
        "- delete: pod/e\n" + SETTLE_NOT + udp("default/e:99", timeout="5s", connected="false"), SLOW
    ),
    "delete a pod whose server closes": text(
        tcp("default/e:8080") + "- delete: pod/e\n" + tcp("10.244.2.2:8080", timeout="2s")
    ),
    "delete a pod that a datagram's client knows": text(
        udp("svc/s:80", port=7777)
        + "- delete: pod/e\n"
        + udp("svc/s:80", port=7777, timeout="1s")
        + hi("svc/s:80", timeout="1s"),
        ENDPOINT + NEAR + S,
    ),
    "delete the client with an open connection": text(
        chat("default/e:7") + "- delete: pod/client\n" + "- wait: 1s\n" + ping("node/node-1", frm="node/node-2")
    ),
    "delete a service with an open connection": text(
        chat("svc/s:80") + "- delete: service/s\n" + more("still", close="true") + hi("10.96.0.77:80", timeout="2s")
    ),
    "delete a service that a datagram's client knows": text(
        udp("svc/s:80", port=7777) + "- delete: service/s\n" + udp("10.96.0.77:80", port=7777, timeout="1s")
    ),
    "delete the only endpoint": text("- delete: pod/e\n" + hi("svc/s:80") + udp("svc/s:80") + hi("node/node-1:30080", frm="external")),
    "delete one of two connections' servers": text(
        chat("default/e:7") + hi("default/near:7") + "- delete: pod/near\n" + more("still", close="true"), ENDPOINT + NEAR
    ),
    # drains
    "drain the node of an endpoint": text(
        hi("svc/d:80") * 2 + udp("svc/d:80", port=7777) + "- drain: node-2\n" + udp("svc/d:80", port=7777) + hi("svc/d:80"),
        of(4),
        "{nodes: 3}",
    ),
    "drain with an open connection": text(
        chat("svc/d:80") + "- drain: node-2\n" + more("still", close="true") + hi("svc/d:80"), of(1), "{nodes: 3}"
    ),
    "drain with a grace period": text(
        chat("svc/d:80") + "- drain: node-2\n" + SETTLE_NOT + more("still") + hi("svc/d:80") + "- wait: 6s\n" + more("gone", close="true"),
        of(1, grace=4),
    ),
    # scalings
    "scale up": text(hi("svc/d:80") + "- scale: {deployment/d: 4}\n" + hi("svc/d:80") * 3, of(1)),
    "scale down": text(
        hi("svc/d:80") * 3 + udp("svc/d:80", port=7777) + "- scale: {deployment/d: 1}\n" + udp("svc/d:80", port=7777) + hi("svc/d:80"),
        of(4),
    ),
    "scale to none with an open connection": text(
        chat("svc/d:80") + "- scale: {deployment/d: 0}\n" + SETTLE_NOT + more("still") + hi("svc/d:80") + "- wait: 4s\n" + more("gone"),
        of(2, grace=3),
    ),
    "scale to none and back": text(
        hi("svc/d:80") + "- scale: {deployment/d: 0}\n" + hi("svc/d:80") + "- scale: {deployment/d: 2}\n" + hi("svc/d:80"), of(2)
    ),
    "scale to none, at once": text(
        "- scale: {deployment/d: 0}\n" + SETTLE_NOT + hi("svc/d:80") + "- wait: 3s\n" + hi("svc/d:80"),
        of(1, grace=5, notes='emu/terminate: "at-once"'),
    ),
    "ready, and not ready": text(
        hi("svc/s:80")
        + "- apply: {apiVersion: v1, kind: Pod, metadata: {name: e, labels: {app: e}, annotations: {emu/ready: \"false\"}}, "
        + "spec: {nodeName: node-2, terminationGracePeriodSeconds: 0, containers: [{name: c, ports: [{containerPort: 7}, "
        + "{containerPort: 7, protocol: UDP}, {containerPort: 8080}]}]}}\n"
        + hi("svc/s:80")
    ),
    # links
    "a node's link goes down, and up": text(
        ping("default/e")
        + "- link: {node: node-2, down: true}\n"
        + ping("default/e")
        + udp("default/e:7", timeout="4s")
        + "- link: {node: node-2, down: false}\n"
        + ping("default/e")
        + hi("svc/s:80")
    ),
    "a link goes down with an open connection": text(
        chat("default/e:7") + "- link: {node: node-2, down: true}\n" + more("lost", timeout="2s") + ping("default/e")
    ),
    "a connection outlives a pulled cable": text(
        chat("default/e:7")
        + "- link: {node: node-2, down: true}\n- wait: 1s\n- link: {node: node-2, down: false}\n"
        + more("still", close="true")
    ),
    "a pod's link goes down, and up": text(
        ping("default/e")
        + "- link: {pod: default/e, down: true}\n"
        + ping("default/e")
        + hi("default/e:7", frm="node/node-2", timeout="4s")
        + "- link: {pod: default/e, down: false}\n"
        + ping("default/e")
    ),
    "a client's link is down": text(
        "- link: {pod: default/client, down: true}\n" + ping("default/e") + "- link: {pod: default/client, down: false}\n" + hi("svc/s:80")
    ),
    "a link on a switch goes down": text(
        ping("default/e") + "- link: {node: node-2, down: true}\n" + hi("default/e:7", timeout="2s") + "- link: {node: node-2, down: false}\n" + ping("default/e"),
        cluster="{nodes: 2, underlay: switched}",
    ),
    "a link loses its MTU under a connection": text(
        chat("default/e:7") + "- link: {node: node-2, mtu: 1300}\n" + more("u" * 1400, close="true")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(ROWS[name], "changes")


# -- names, and draws that leave no entry --------------------------------------------------------

DNS = SERVICE.format(name="s", ip="10.96.0.77", app="e", more="") + ENDPOINT
CLOSED = ENDPOINT.replace("containerPort: 7}", "containerPort: 70}") + SERVICE.format(
    name="c", ip="10.96.7.7", app="e", more=""
)
DRAWN: dict[str, str] = {
    "a name of the cluster": text(
        tcp("name:s:80", send="hi") + udp("name:s.default.svc.cluster.local:80"), DNS, "{nodes: 2, dns: true}"
    ),
    "a name that is not there": text(tcp("name:nosuch:80", send="hi"), DNS, "{nodes: 2, dns: true}"),
    "a name that an upstream knows": text(
        tcp("http://www.example.com:80"), DNS, "{nodes: 2, dns: {upstream: {www.example.com: 203.0.113.10}}}"
    ),
    "refused behind MASQUERADE --random-fully": text(
        hi("svc/c:80", frm="node/node-1")
        + hi("node/node-1:30080", frm="external")
        + udp("svc/c:80", frm="node/node-1"),
        CLOSED,
    ),
    # the node does not forward: behind DNAT a SYN is dropped without an entry, and each draws its endpoint again
    "an endpoint drawn again with each SYN": text(
        hi("svc/d:80", timeout="3500ms"),
        of(4),
        "{nodes: 2, sysctls: {net.ipv4.ip_forward: 0}}",
    ),
    "several connections of one client": text(hi("svc/d:80") * 4 + hi("node/node-2:30080", frm="external") * 2, of(3)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_the_emulator_repeats_the_draws(name: str) -> None:
    agrees(DRAWN[name], "changes")
