"""Behaviours of neighbours, routes and their bounds, one a row, each judged by this machine's kernel."""

from __future__ import annotations

import pytest

from twin_rows import C, np, ping, send, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

QLEN = "net.ipv4.neigh.default.unres_qlen_bytes"
ROWS: dict[str, dict[str, str]] = {
    # a queue counts truesize: 14 fragments of 2304 bytes each, of which one has room
    "queue-of-one-fragment": {
        "steps": udp("default/web:53", send="f" * 20000, reply="false"),
        "cluster": f"{{nodes: 2, sysctls: {{{QLEN}: 4000}}}}",
    },
    "queue-of-short-datagrams": {
        "steps": udp("default/web:53", send="f" * 3000, reply="false") + ping("default/web", size=2000),
        "cluster": f"{{nodes: 2, sysctls: {{{QLEN}: 3200}}}}",
    },
    "own-nodeport": {"steps": tcp("node/node-1:30080") + tcp("node/node-1:30080"), "more": np()},
    "own-nodeport-local": {
        "steps": tcp("node/node-1:30080", timeout="500ms"),
        "more": np("externalTrafficPolicy: Local"),
    },
    "source-of-anothers-subnet": {
        "steps": send("IP(src='10.244.2.9', dst='10.244.2.2')/UDP(sport=44, dport=53)/'abc'"),
        "cluster": "{nodes: 2, sysctls: {net.ipv4.conf.all.rp_filter: 2}}",
    },
    "localhost-nodeport-udp": {
        "steps": udp("127.0.0.1:31000", frm="node/node-1", reply="false")
        + udp("127.0.0.1:31000", frm="node/node-1", connected="false", reply="false"),
        "more": np()
        .replace("name: np", "name: npu")
        .replace("ports: [{", "ports: [{protocol: UDP, ")
        .replace("30080", "31000"),
    },
    "errors-above-the-burst": {
        "steps": "".join(send(f"IP(dst='10.244.2.2')/UDP(sport={n}, dport=99)/'x'") for n in range(4000, 4009)),
        "cluster": "{nodes: 2, sysctls: {net.ipv4.icmp_msgs_per_sec: 1000, net.ipv4.icmp_ratelimit: 1000}}",
    },
    "one-probe-and-a-queue": {
        "steps": udp("10.244.1.77:9", send="x" * 500, reply="false")
        + udp("10.244.1.77:9", send="x" * 500, frm=C, reply="false"),
    },
}


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(scenario(**ROWS[name]), "table")
