"""Rows that show what the judge reads: tags, IP options, quotes, fragments, missing checksums, ARP by unicast."""

from __future__ import annotations

import pytest

from twin_rows import ECHO, ping, send, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

TAGGED = "Ether(dst='02:00:00:00:00:99')/Dot1Q(vlan=7, prio=3)/IP(src='10.244.1.2', dst='10.244.1.9')/UDP(sport=5, dport=6)/'x'"

ROWS: dict[str, dict[str, str]] = {
    "a-tag": {"steps": send(TAGGED), "node": "node-1"},
    "udp-without-checksum": {"steps": send("IP(dst='10.244.2.2')/UDP(sport=5, dport=53, chksum=0)/'x'")},
    "a-quote-of-a-masqueraded-datagram": {
        "steps": udp("node/node-2:9999", send="q" * 40) + udp("external:9999", send="q" * 700)
    },
    "a-quote-behind-a-service": {
        "steps": udp("svc/shut:53", send="q" * 100),
        "more": "apiVersion: v1\nkind: Service\nmetadata: {name: shut}\n"
        "spec: {clusterIP: 10.96.0.77, selector: {app: web}, ports: [{port: 53, targetPort: 77, protocol: UDP}]}\n",
    },
    "a-quote-of-a-wrong-checksum": {
        "steps": send("IP(dst='10.244.2.2', ttl=1)/UDP(sport=5, dport=53, chksum=1)/'abc'")
    },
    "fragments-with-tos": {
        "steps": send("IP(dst='10.244.2.2', tos=16, id=77, flags='MF')/UDP(sport=5, dport=7, len=24)/'12345678'")
        + send("IP(dst='10.244.2.2', tos=16, id=77, frag=2, proto=17)/'12345678'"),
        "more": ECHO,
    },
    # one client is refused by a RST, one by an ICMP error: the socket has ECONNREFUSED for both
    "refused-and-rejected": {
        "steps": tcp("default/web:99") + tcp("svc/none:80") + tcp("10.244.9.9:80") + udp("svc/none:80"),
        "more": "apiVersion: v1\nkind: Service\nmetadata: {name: none}\n"
        "spec: {clusterIP: 10.96.0.78, selector: {app: none}, ports: [{name: t, port: 80}, {name: u, port: 80, protocol: UDP}]}\n",
    },
    "probes": {"steps": ping("default/web") + "- wait: 7s\n" + tcp("svc/web:80")},
}


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(scenario(**ROWS[name]), "table")
