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
    # whole seconds of patience: the second SYN goes after 1.000 to 1.036 s, the next after 1.024 s each
    **{
        f"{seconds}-seconds-of-patience": {
            "steps": tcp("node/node-2:30080", timeout=f"{seconds}s"),
            "more": np("externalTrafficPolicy: Local"),
            "node": "node-1",
        }
        for seconds in (2, 3, 4, 5)
    },
    # the neighbour's timer and the SYN's are due at one tick: both run before the errors arrive
    "absent-behind-a-node": {"steps": tcp("10.244.2.99:80", timeout="5500ms")},
}


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(scenario(**ROWS[name]), "table")
