"""What drawn odd packets showed (`emu/testing/odd_packets.py`): a kind a row, each of which differed once."""

from __future__ import annotations

import pytest

from twin_rows import send, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin
NODE, WEB = "node/node-1", "default/web"
FLANNEL = "{nodes: 2, network: flannel, underlay: routed}"
CALICO = "{nodes: 2, network: calico, underlay: switched, calico: {vxlanMode: Never}}"
MUTE = """apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: mute}
spec: {podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]}
"""
# the host's end of every pod's cable has this MAC in Calico
GATEWAY = "dst='ee:ee:ee:ee:ee:ee'"

ROWS: dict[str, dict[str, str]] = {
    # an error, or an answer, goes to the group that the packet came from
    "a-source-that-is-a-group": {
        "steps": send("IP(src='224.0.0.1', dst='127.0.0.1', proto=46)/'abcd'", frm=WEB)
        + send("IP(src='224.0.0.1', dst='127.0.0.1')/ICMP(id=9)/'abcd'", frm=WEB)
        + send("IP(src='239.1.1.1', dst='127.0.0.1')/UDP(sport=5, dport=99)/'x'", frm=NODE)
        + send("IP(src='224.0.0.1', dst='10.244.1.1', ttl=9)/UDP(sport=5, dport=99)/'x'", frm=NODE)
    },
    "no-address-at-all": {
        "steps": "".join(
            send(f"IP(dst='0.0.0.0')/TCP(sport=5, dport={port}, flags='{flag}', seq=7)", frm=frm)
            for frm, port, flag in ((WEB, 8080, "S"), (WEB, 99, "S"), (WEB, 99, "A"), (NODE, 99, "S"))
        )
        + send("IP(dst='0.0.0.0')/ICMP()", frm=NODE)
    },
    # what acknowledges another number than a request's SYN-ACK is the listener's: here that SYN-ACK itself
    "a-request-of-oneself": {"steps": send("IP(dst='127.0.0.1')/TCP(sport=8080, dport=8080, flags='S', seq=7)", frm=WEB)},
    # pieces that came in have no room for the header of a tunnel: the datagram is cut anew
    "fragments-into-a-tunnel": {
        "steps": "- link: {pod: default/client, mtu: 1300}\n"
        + udp("default/web:53", send="k" * 1473)
        + udp("default/web:99", send="k" * 3000),
        "cluster": FLANNEL,
    },
    # a Service across nodes, where devices complete checksums: that of the tunnel's packet is no longer the inner packet's
    "offloads-in-a-tunnel": {
        "steps": udp("10.96.0.10:53") + udp("10.96.0.10:53", frm=NODE) + tcp("10.96.0.10:80"),
        "cluster": "{nodes: 2, network: flannel, underlay: switched, offloads: true}",
    },
    # an answer's pieces come back out of order, and the buffer grows for what waits behind the gap
    "out-of-order-for-a-large-window": {
        "steps": "- link: {pod: default/client, mtu: 9000}\n" + tcp("external:7", send="k" * 12000),
        "cluster": "{nodes: 1, network: flannel, underlay: switched}",
        "node": "node-1",
    },
    # conntrack has summed what is forwarded: REJECT answers whatever came of it, and whatever options were filled in since
    "rejected-with-a-wrong-sum": {
        "steps": "".join(
            send(f"IP(dst='10.244.2.2'{options})/{layers}")
            for options, layers in (
                (r", options=b'\\7\\7\\4\\0\\0\\0\\0\\0'", "TCP(sport=5, dport=80)"),
                (r", options=b'\\104\\10\\5\\0\\0\\0\\0\\0'", "UDP(sport=5, dport=53)"),
                ("", "TCP(sport=5, dport=80, chksum=1)"),
                ("", "UDP(sport=5, dport=53, chksum=1)"),
                ("", "ICMP(chksum=1)"),
            )
        ),
        "cluster": "{nodes: 2, policy: kube-router}",
        "more": MUTE,
    },
    # the node's conntrack takes an answer of zeros for a right one, a pod that has none does not
    "an-answer-of-zeros": {
        "steps": "".join(send(f"IP(dst='{to}')/ICMP()", frm=NODE) for to in ("10.244.1.2", "10.244.2.2", "203.0.113.10"))
        + send("IP(dst='10.244.1.1')/ICMP()")
        + send("IP(dst='192.168.51.11')/ICMP()", frm=NODE)
        + send("IP(dst='192.168.51.11')/ICMP()", frm="external")
    },
    # no host has the address: a packet that is not of version 4 has no error
    "another-version-and-no-neighbour": {
        "steps": "".join(send("IP(dst='10.244.1.99', version=5)/UDP(sport=5, dport=99)/'x'", frm=frm) for frm in (WEB, NODE)),
        "node": "node-1",
    },
    "no-identification": {
        "steps": "".join(
            send(f"IP(dst='10.244.2.2', id=0, flags='{flags}')/UDP(sport=5, dport=99)/'x'") for flags in ("", "DF", "MF", "DF+MF")
        )
    },
    "the-end-of-a-header": {
        "steps": send(f"Ether({GATEWAY}, type=0x0800)/'abcdefgh'")
        + send(f"Ether({GATEWAY})/IP(dst='10.244.1.3', ihl=15)/'abcd'")
        + send(f"Ether({GATEWAY})/IP(dst='10.244.1.3', len=19)/'abcd'")
        + send(f"Ether({GATEWAY})/IP(dst='10.244.1.3', len=21, ihl=6)/UDP(sport=5, dport=99)/'abcd'"),
        "cluster": CALICO,
    },
    "a-copy-for-oneself": {
        "steps": "".join(
            send(f"IP(dst='{to}')/UDP(sport=5, dport=53, len={length})/'abcdefgh'", frm=WEB)
            for to in ("224.0.0.1", "10.244.2.255", "255.255.255.255")
            for length in (0, 7, 60)
        )
    },
    "frames-that-no-one-takes": {
        "steps": send("Dot3(dst='02:00:00:00:00:99')/LLC()/STP()")
        + send("Dot3(dst='ff:ff:ff:ff:ff:ff')/LLC()/STP()")
        + send("Dot3(dst='01:80:c2:00:00:00')/LLC()/STP()")
        + send("Ether(dst='ff:ff:ff:ff:ff:ff', type=0x60)/'abcdefgh'", frm=NODE)
        + send("Ether(dst='ff:ff:ff:ff:ff:ff', type=0x88CC)/'abcdefgh'", frm=NODE)
        + send("Ether(dst='02:00:00:00:00:99')/Dot1Q(vlan=5)/IP(dst='10.244.2.2')/ICMP()")
        + send("Ether(dst='ff:ff:ff:ff:ff:ff', src='01:00:5e:00:00:01')/Dot1Q(vlan=5)/IP(dst='10.244.2.2')/ICMP()")
    },
    "numbers-of-one's-own": {
        "steps": send("IP(dst='10.244.2.2', id=0)/TCP(sport=5, dport=99, flags='S', seq=7)")
        + send("IP(dst='10.244.2.2', id=0)/TCP(sport=5, dport=99, flags='FA', seq=8, ack=9)")
        + send("IP(dst='10.244.2.2', id=0)/TCP(sport=6, dport=99, flags='S', seq=0xFFFFFFFF)")
        + send("IP(dst='10.244.2.2', id=0)/TCP(sport=6, dport=99, flags='A', seq=0, ack=9)")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(scenario(**ROWS[name]), "table")
