"""Packets of IPv4 and ICMP that few programs send, one kind a row, each judged by this machine's kernel."""

from __future__ import annotations

import pytest

from twin_rows import ECHO, SINK, ping, send, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

RECORD_ROUTE = r"options=b'\x07\x0b\x04\x01\x01\x01\x01\x01\x01\x01\x01\x01'".replace("\\", "\\\\")
ALERT = r"options=b'\x94\x04\x00\x00'".replace("\\", "\\\\")
BROKEN = r"options=b'\x07\x00\x04\x01'".replace("\\", "\\\\")
LOOSE = r"options=b'\x83\x07\x04\x0a\xf4\x02\x02\x01'".replace("\\", "\\\\")
STRICT = LOOSE.replace("x83", "x89")
BIG = "q" * 1200
NARROW = "- link: {node: node-2, mtu: 1000}\n"
ROUTED = "{nodes: 2, sysctls: {net.ipv4.conf.all.accept_source_route: 1}}"


def tos(value: int) -> str:
    """Errors of each kind, and a RST, about packets with a TOS."""
    return "".join(
        send(expr.format(tos=value))
        for expr in (
            "IP(dst='10.244.2.2', tos={tos})/UDP(sport=44, dport=99)/'abc'",
            "IP(dst='10.244.2.2', tos={tos}, proto=99)/'abc'",
            "IP(dst='10.244.2.2', tos={tos}, ttl=1)/ICMP(id=3)",
            "IP(dst='10.244.2.2', tos={tos}, ttl=3)/UDP(sport=44, dport=99)/'abc'",
            "IP(dst='10.96.9.9', tos={tos})/UDP(sport=44, dport=99)/'abc'",
            "IP(dst='10.244.2.2', tos={tos})/TCP(sport=44, dport=99, flags='S')",
            "IP(dst='10.244.2.2', tos={tos})/TCP(sport=44, dport=8080, flags='A', seq=5, ack=9)",
            "IP(dst='10.244.2.2', tos={tos})/ICMP(id=4)",
        )
    )


ROWS: dict[str, dict[str, str]] = {
    "padded-frame": {
        "steps": send(
            "Ether(dst='02:00:00:00:00:99')/IP(src='10.244.1.2', dst='10.244.1.3')/UDP(sport=44, dport=53)/'x'"
            "/Padding(load='yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy')"
        )
        + send(
            "Ether(dst='02:00:00:00:00:99')/IPv6(src='fd00::1', dst='fd00::2')/UDP(sport=44, dport=53)/'x'"
            "/Padding(load='yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy')"
        ),
        "node": "node-1",
    },
    **{f"tos-{value:#04x}": {"steps": tos(value)} for value in (0x10, 0x28, 0xB8, 0xFF)},
    "tos-reject": {
        "steps": send("IP(dst='10.96.0.20', tos=0xb8)/TCP(sport=44, dport=80, flags='S')")
        + send("IP(dst='10.96.0.20', tos=0xff)/UDP(sport=44, dport=80)/'abc'"),
        "more": """apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {clusterIP: 10.96.0.20, selector: {app: none}, ports: [{name: t, port: 80}, {name: u, port: 80, protocol: UDP}]}
""",
    },
    "icmp-queries": {
        "steps": send("IP(dst='10.244.2.2')/ICMP(type=13, id=7)")
        + send("IP(dst='10.244.2.2')/ICMP(type=8, code=1, id=8)")
        + send("IP(dst='10.244.2.2')/ICMP(type=15, id=9)")
        + send("IP(dst='10.244.2.2')/ICMP(type=17, id=10)")
        + send("IP(dst='10.244.2.2')/ICMP(type=42, id=11)"),
    },
    "zero-network": {
        "steps": send("IP(src='0.0.1.2', dst='10.244.2.2')/UDP(sport=44, dport=99)/'abc'")
        + send("IP(dst='0.0.1.2')/UDP(sport=44, dport=99)/'abc'")
        + send("IP(dst='0.255.255.255')/ICMP(id=5)"),
    },
    "igmp-to-a-pod": {"steps": send("IP(dst='10.244.2.2', proto=2)/b'\\\\x11\\\\x64\\\\xee\\\\x9b\\\\x00\\\\x00\\\\x00\\\\x00'")},
    "path-mtu-without-socket": {
        "steps": NARROW
        + send(f"IP(dst='10.244.2.2', flags='DF')/ICMP(id=7)/'{BIG}'")
        + send(f"IP(dst='10.244.2.2')/ICMP(id=8)/'{BIG}'")
        + send(f"IP(dst='10.244.2.2', flags='DF')/UDP(sport=44, dport=53)/'{BIG}'")
        + send(f"IP(dst='10.244.2.2')/UDP(sport=45, dport=53)/'{BIG}'")
        + send("IP(dst='10.244.2.2', flags='DF')/TCP(sport=46, dport=8080, flags='A')/'" + BIG + "'")
        + udp("default/web:53", send=BIG)
        + ping("default/web", size=1100)
        + ping("default/web", size=1100),
    },
    "path-mtu-with-socket": {
        "steps": NARROW + ping("default/web", size=1100) + ping("default/web", size=1100) + udp("default/echo:7", send=BIG),
        "more": ECHO,
    },
    "record-route": {
        "steps": send(f"IP(dst='10.244.2.2', {RECORD_ROUTE})/UDP(sport=44, dport=9)/'abc'")
        + send(f"IP(dst='10.244.2.2', {RECORD_ROUTE})/ICMP(id=3)")
        + send(f"IP(dst='10.244.2.2', {RECORD_ROUTE}, ttl=1)/ICMP(id=4)")
        + send(f"IP(dst='10.244.2.2', {RECORD_ROUTE}, ttl=3)/ICMP(id=5)")
        + send(f"IP(dst='10.244.2.2', {RECORD_ROUTE})/TCP(sport=44, dport=99, flags='S')")
        + send(f"IP(dst='10.96.0.10', {RECORD_ROUTE})/UDP(sport=45, dport=53)/'abc'")
        + send(f"IP(dst='10.244.1.1', {RECORD_ROUTE})/ICMP(id=6)"),
    },
    "accepted-with-options": {
        "steps": send(f"IP(dst='10.244.2.2', {RECORD_ROUTE})/TCP(sport=44, dport=8080, flags='S')")
        + send(f"IP(dst='10.96.0.10', {RECORD_ROUTE})/TCP(sport=45, dport=80, flags='S')")
        + send(f"IP(dst='10.244.2.2', {BROKEN})/TCP(sport=46, dport=8080, flags='S')"),
    },
    "record-route-same-node": {
        "steps": send(f"IP(dst='10.244.1.3', {RECORD_ROUTE})/UDP(sport=44, dport=99)/'abc'")
        + send(f"IP(dst='10.96.0.10', {RECORD_ROUTE})/UDP(sport=45, dport=53)/'abc'"),
        "node": "node-1",
    },
    "router-alert": {"steps": send(f"IP(dst='10.244.2.2', {ALERT})/ICMP(id=3)")},
    "broken-option": {
        "steps": send(f"IP(dst='10.244.2.2', {BROKEN})/ICMP(id=3)")
        + send(f"IP(dst='10.244.1.1', {BROKEN})/UDP(sport=44, dport=99)/'abc'"),
    },
    "source-route-refused": {"steps": send(f"IP(dst='10.244.1.1', {LOOSE})/ICMP(id=3)")},
    "source-route": {
        "steps": send(f"IP(dst='10.244.1.1', {LOOSE})/ICMP(id=3)")
        + send(f"IP(dst='10.244.1.1', {STRICT})/ICMP(id=4)")
        + send(f"IP(dst='10.244.1.1', {LOOSE})/UDP(sport=44, dport=99)/'abc'"),
        "cluster": ROUTED,
    },
    "options-in-pieces": {
        "steps": NARROW + send(f"IP(dst='10.244.2.2', {RECORD_ROUTE})/UDP(sport=44, dport=99)/'{BIG}'"),
    },
    "datagram-shorter-than-its-packet": {
        "steps": send("IP(dst='10.244.1.1')/UDP(sport=44, dport=99, len=17, chksum=0)/'hello-emuaaaaaaaaaaaaaaa'"),
    },
    "short-first-piece": {
        "steps": send("IP(dst='10.244.2.2', id=77, flags='MF+DF')/TCP(sport=44, dport=99)/''")
        + tcp("default/sink:9", timeout="1500ms"),
        "more": SINK,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(scenario(**ROWS[name]), "table")
