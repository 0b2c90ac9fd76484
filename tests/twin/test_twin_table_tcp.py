"""Behaviours of TCP and UDP sockets, one a row, each judged by this machine's kernel."""

from __future__ import annotations

import pytest

from twin_rows import GET, np, send, tcp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

EMPTY = """apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {clusterIP: 10.96.0.66, selector: {app: nothing}, ports: [{port: 80, targetPort: 8080}]}
"""

ROWS: dict[str, dict[str, str]] = {
    # a client inside connect() owns its socket when the ICMP error comes; one that polls learns of the error at once
    "rejected-at-once": {
        "steps": tcp("svc/empty:80", blocking="true") + tcp("svc/empty:80"),
        "more": EMPTY,
    },
    "refused-and-blocking": {
        "steps": tcp("default/web:99", blocking="true") + tcp("default/web:8080", GET, blocking="true")
    },
    "syn-with-fin": {
        "steps": "".join(
            send(f"IP(dst='10.244.2.2')/TCP(sport={4440 + index}, dport=8080, flags='{flags}')")
            for index, flags in enumerate(("SF", "SFP", "SFA", "F"))
        )
    },
    # a listener takes ECN from a SYN with both flags, in a packet that is not ECN-capable, also by a cookie
    **{
        f"a-syn-that-asks-for-ecn-{cookies}": {
            "cluster": f"{{nodes: 2, sysctls: {{net.ipv4.tcp_syncookies: {cookies}}}}}",
            "steps": "".join(
                send(f"IP(dst='10.244.2.2', tos={tos})/TCP(sport={4440 + index}, dport={port}, flags='{flags}')")
                for index, (flags, tos, port) in enumerate(
                    (("SEC", 0, 8080), ("SE", 0, 8080), ("SC", 0, 8080), ("SEC", 2, 8080), ("SEC", 0x28, 8080), ("SEC", 3, 8080), ("SEC", 0, 99))
                )
            ),
        }
        for cookies in (1, 2)
    },
    # whole seconds of patience: the second SYN goes after 1.000 to 1.036 s, the next after 1.024 s each
    **{
        f"{seconds}-seconds-of-patience": {
            "steps": tcp("node/node-2:30080", timeout=f"{seconds}s"),
            "more": np("externalTrafficPolicy: Local"),
            "node": "node-1",
        }
        for seconds in (2, 3, 4, 5)
    },
    # two acknowledgements of its FIN inside close(): the second one finds a socket that is closed meanwhile
    **{
        f"a-fin-is-acknowledged-twice-{node}": {
            "steps": f'- iptables: {{node: {node}, rules: ["-t mangle -A PREROUTING -d {to} -p tcp --tcp-flags FIN FIN -j TEE --gateway {to}"]}}\n'
            + tcp("default/web:8080") * 2,
            "node": node,
        }
        for node, to in (("node-1", "10.244.1.3"), ("node-2", "10.244.2.2"))
    },
    # the neighbour's timer and the SYN's are due at one tick: both run before the errors arrive
    "absent-behind-a-node": {"steps": tcp("10.244.2.99:80", timeout="5500ms")},
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(scenario(**ROWS[name]), "table")
