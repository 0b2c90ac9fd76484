"""Packets that a program gives with their IPv4 header, and sockets that send to 0.0.0.0: what the kernel writes and refuses."""

from __future__ import annotations

import pytest

from twin_rows import ping, send, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin
LONG = "z" * 1400

ROWS: dict[str, dict[str, str]] = {
    "no-source": {"steps": send("IP(src='0.0.0.0', dst='10.244.2.2')/UDP(sport=5, dport=53)/'x'")},
    "wrong-lengths": {
        "steps": send("IP(dst='10.244.2.2', len=60)/UDP(sport=5, dport=53)/'x'")
        + send("IP(dst='10.244.2.2', chksum=1)/UDP(sport=5, dport=53)/'x'")
        + send("IP(dst='10.244.2.2')/UDP(sport=5, dport=53, len=30)/'x'")
        + send("Ether()/IP(dst='10.244.2.2', len=60)/UDP(sport=5, dport=53)/'x'")
        + send("Ether()/IP(dst='10.244.2.2', ihl=15)/UDP(sport=5, dport=53)/'x'")
        + send("Ether()/IP(dst='10.244.2.2', chksum=1)/UDP(sport=5, dport=53)/'x'")
    },
    "longer-than-the-link": {
        "steps": udp("default/web:53", send="y" * 1473)
        + send(f"IP(dst='10.244.2.2', flags='DF')/UDP(sport=5, dport=53)/'{LONG * 2}'")
        + send(f"IP(dst='10.244.2.2')/UDP(sport=5, dport=53)/'{LONG * 2}'")
    },
    "longer-than-a-narrow-link": {
        "steps": "- link: {node: node-1, mtu: 1300}\n"
        + send(f"IP(dst='10.244.2.2', flags='DF')/UDP(sport=5, dport=53)/'{LONG}'")
        + send(f"IP(dst='10.244.2.2', flags='DF')/UDP(sport=5, dport=53)/'{LONG}'", frm="node/node-1")
        + udp("default/web:53", send="k" * 1400, frm="node/node-1")
    },
    "this-host": {
        "steps": udp("0.0.0.0:53", frm="default/web")
        + tcp("0.0.0.0:8080", frm="default/web")
        + udp("0.0.0.0:99", connected="false")
        + ping("0.0.0.0")
        + send("IP(dst='127.0.0.1')/UDP(sport=53, dport=53)/'x'", frm="default/web")  # a server that gets what looks like its own
    },
    "strange-protocols": {
        "steps": "".join(
            send(f"IP(dst='10.244.2.2', proto={proto})/'abcdefghijkl'") for proto in (0, 2, 4, 47, 132, 136, 255)
        )
    },
    "odd-messages": {
        "steps": send("IP(dst='255.255.255.255')/ICMP(type=42, code=1)")
        + send("IP(dst='224.0.0.1')/ICMP(type=255)", frm="node/node-1")
        + send("IP(dst='255.255.255.255')/ICMP(type=255, chksum=1)")
        + send("IP(dst='10.244.2.2')/ICMP(type=42)")
        + send("IP(dst='10.244.2.2')/ICMP(type=43)")
        + send("IP(dst='10.244.2.2')/ICMP(type=44)")
        + send("IP(dst='10.244.1.2')/ICMP(type=8)")  # its answer is of zeros
        + send("IP(dst='10.244.2.2')/ICMP(type=8)")
    },
    "odd-segments": {
        "steps": "".join(
            send(f"IP(dst='10.244.2.2')/TCP(sport=5, dport={port}, {fields})")
            for port in (8080, 99)
            for fields in ("flags='R'", "flags='RA'", "flags='S', dataofs=4", "flags='S', dataofs=15", "flags='FS'")
        )
        + send("IP(dst='10.244.2.2', proto=6)/'abcdefghijkl'")
        + send("IP(dst='10.244.2.2', proto=103)/'abcdefghijkl'")
    },
    "odd-datagrams": {
        "steps": "".join(
            send(f"IP(dst='10.244.2.2', proto={proto})/'{text}'")
            for proto in (17, 136)
            for text in ("abcdef", r"abcd\\0\\7gh", r"abcd\\0\\11gh", r"abcd\\0\\0\\0\\0", r"abcd\\0\\10gh")
        )
    },
    "odd-headers": {
        "steps": "".join(
            send(f"IP(dst='{target}', {fields})/UDP(sport=5, dport=53)/'x'")
            for target in ("10.244.2.2", "127.0.0.1")
            for fields in ("version=0", "version=6", "ihl=0", "ihl=4", "ihl=6", "ihl=15", "proto=58")
        )
        + send(f"Ether()/IP(dst='10.244.2.2')/UDP(sport=5, dport=53)/'{LONG * 2}'")
    },
    "errors-with-a-short-quote": {
        "steps": "".join(
            send(f"IP(dst='10.244.2.2')/ICMP(type={kind}, id=9)/{quote!r}")
            for kind in (3, 5, 11)
            for quote in ("", "E" * 19, "D" * 40, "E" * 27)
        )
    },
    "fragments-that-overlap": {
        "steps": send("IP(dst='10.244.2.2', id=77, flags='MF')/UDP(sport=5, dport=53, len=40)/'aaaaaaaaaaaaaaaa'")
        + send("IP(dst='10.244.2.2', id=77, frag=2, flags='MF', proto=17)/'bbbbbbbbbbbbbbbb'")
        + send("IP(dst='10.244.2.2', id=77, frag=3, proto=17)/'cccccccccccccccc'")
    },
    "addresses-that-no-one-may-have": {
        "steps": "".join(
            send(f"IP(src='{source}', dst='10.244.2.2')/UDP(sport=5, dport=53)/'x'")
            for source in ("127.0.0.1", "224.1.1.1", "255.255.255.255", "10.244.1.255", "10.244.1.1", "10.244.2.2")
        )
        + send("IP(dst='240.0.0.1')/UDP(sport=5, dport=53)/'x'")
    },
    "low-ports-that-clash": {
        "steps": "".join(
            udp("external:53", port=port, frm=frm, timeout="500ms")
            for port in (100, 511, 512, 700, 1023, 1024)
            for frm in ("default/client", "default/web")
        ),
        "node": "node-1",
    },
    "spoofed-without-forwarding": {
        "steps": send("IP(src='1.2.3.4', dst='10.244.2.2')/UDP(sport=5, dport=53)/'x'")
        + send("IP(src='10.244.1.1', dst='10.244.2.2')/UDP(sport=5, dport=53)/'x'")
        + send("IP(src='127.0.0.1', dst='10.244.2.2')/UDP(sport=5, dport=53)/'x'"),
        "cluster": "{nodes: 2, sysctls: {net.ipv4.ip_forward: 0, net.ipv4.conf.all.rp_filter: 1}}",
    },
    "forged-answers": {
        "steps": udp("default/web:53")
        + send("IP(dst='10.244.2.2')/ICMP(type=3, code=3)/IP(src='10.244.2.2', dst='10.244.1.2')/UDP(sport=53, dport=9)/'x'")
        + send("IP(dst='10.96.0.10')/TCP(sport=4444, dport=80, flags='S', seq=9)")
        + send("IP(dst='10.96.0.10')/TCP(sport=4444, dport=80, flags='R', seq=10)")
        + send("IP(src='10.244.2.2', dst='10.244.2.2')/TCP(sport=8080, dport=8080, flags='S')")
    },
    # the way to a pod is not that to its Service: an error that NAT gives another destination is routed again
    "an-answer-that-no-socket-takes": {
        "steps": send("IP(dst='10.96.0.10')/UDP(sport=4000, dport=53)/'x'", frm="node/node-1")
        + send("IP(dst='10.96.0.10')/TCP(sport=4000, dport=80, flags='S', seq=9)", frm="node/node-1")
        + send("IP(dst='10.96.0.10')/UDP(sport=4000, dport=53)/'x'"),
        "cluster": "{nodes: 2, network: flannel, underlay: switched, flannel: {Backend: {Type: vxlan, DirectRouting: true}}}",
    },
    "a-fragment-in-a-fragmented-tunnel": {
        "steps": "- link: {node: node-1, mtu: 1400}\n" + ping("10.244.2.99", size=1472) + ping("10.244.2.2", size=1472),
        "cluster": "{nodes: 2, network: flannel, underlay: switched}",
    },
    "longer-than-a-node-in-a-vpc-takes": {
        "steps": "- link: {node: node-2, mtu: 1400}\n" + udp("default/web:53", send="k" * 1472) + ping("10.96.0.10", size=1472),
        "cluster": "{nodes: 2, network: aws-vpc}",
    },
    # the pod asks for the client's MAC, and a proxy answers after a time that it draws: later than a raw socket waits
    "an-error-behind-a-proxy": {
        "steps": send("IP(dst='10.244.2.2')/UDP(sport=4000, dport=8081)/'x'"),
        "cluster": "{nodes: 2, network: flat, underlay: routed}",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(scenario(**ROWS[name]), "table")
