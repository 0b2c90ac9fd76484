"""Connection tracking and NAT of other protocols than TCP, one behaviour a row, each judged by this machine's kernel."""

from __future__ import annotations

import pytest

from odd_packets import udp, udplite
from twin_rows import C, send
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

WEB, CLIENT, EXTERNAL = "10.244.2.2", "10.244.1.2", "203.0.113.10"
SCTP_SERVICE = """apiVersion: v1
kind: Service
metadata: {name: signal}
spec: {clusterIP: 10.96.0.60, selector: {app: web}, ports: [{port: 2000, targetPort: 2905, protocol: SCTP}]}
"""


def sctp(dst: str, tag: int, chunks: str, frm: str = C, ports: tuple[int, int] = (1500, 2000), more: str = "") -> str:
    sport, dport = ports
    return send(f"IP(dst='{dst}')/SCTP(sport={sport}, dport={dport}, tag={tag}{more})/{chunks}", frm)


def there(tag: int, chunks: str, dst: str = WEB) -> str:
    return sctp(dst, tag, chunks)


def back(tag: int, chunks: str) -> str:
    return sctp(CLIENT, tag, chunks, "default/web", (2000, 1500))


def raw(octets: str) -> str:
    """A payload of bytes, given as hex, as a scenario's YAML has it."""
    return "b'" + "".join(f"\\\\x{byte:02x}" for byte in bytes.fromhex(octets)) + "'"


INIT, INIT_ACK = "SCTPChunkInit(init_tag=11)", "SCTPChunkInitAck(init_tag=22)"
ECHO, ACK = "SCTPChunkCookieEcho(cookie='abcd')", "SCTPChunkCookieAck()"
DATA = "SCTPChunkData(data='hello')"
OPENED = there(0, INIT) + back(11, INIT_ACK) + there(22, ECHO) + back(11, ACK)
PLAIN_UDP = "UDP(sport=44, dport=53"

ROWS: dict[str, dict[str, str]] = {
    "sctp-garbage": {"steps": send(f"IP(dst='{WEB}', proto=132)/'abcdefghijkl'")},
    "sctp-init": {"steps": there(0, INIT) + there(0, INIT)},
    "sctp-init-without-crc": {"steps": sctp(WEB, 0, INIT, more=", chksum=0")},
    "sctp-opened": {"steps": OPENED + there(22, DATA) + there(33, DATA)},
    "sctp-closed": {
        "steps": OPENED
        + there(22, "SCTPChunkShutdown()")
        + back(11, "SCTPChunkShutdownAck()")
        + there(22, "SCTPChunkShutdownComplete()")
    },
    "sctp-aborted": {"steps": OPENED + back(11, "SCTPChunkAbort()")},
    "sctp-heartbeat-first": {"steps": there(22, "SCTPChunkHeartbeatReq()") + back(11, "SCTPChunkHeartbeatAck()")},
    "sctp-out-of-the-blue": {"steps": there(22, DATA) + there(22, "SCTPChunkAbort()") + there(22, ACK)},
    "sctp-service": {"steps": sctp("10.96.0.60", 0, INIT), "more": SCTP_SERVICE},
    "sctp-masqueraded": {"steps": there(0, INIT, EXTERNAL) + sctp(EXTERNAL, 0, INIT, more=", chksum=0")},
    "sctp-same-node": {"steps": there(0, INIT, "10.244.1.3"), "node": "node-1"},
    "gre": {"steps": send(f"IP(dst='{WEB}', proto=47)/{raw('000008006162636465666768')}")},
    "gre-pptp": {"steps": send(f"IP(dst='{WEB}', proto=47)/{raw('3001880b0000004d6162636465666768')}")},
    "gre-garbage": {"steps": send(f"IP(dst='{WEB}', proto=47)/{raw('a22100350011280568656c6c')}")},
    "gre-masqueraded": {
        "steps": send(f"IP(dst='{EXTERNAL}', proto=47)/{raw('3001880b0000004d6162636465666768')}")
        + send(f"IP(dst='{EXTERNAL}', proto=47)/{raw('a22100350011280568656c6c')}")
        + send(f"IP(dst='{EXTERNAL}', proto=47)/{raw('00000800')}")
    },
    "udplite-without-checksum": {"steps": send(f"IP(dst='{EXTERNAL}', proto=136)/{raw('05dc07d00008000061626364')}")},
    "udplite-to-a-pod": {
        "steps": send(f"IP(dst='{WEB}', proto=136)/{raw(udplite(CLIENT, WEB, (1500, 99), b'data', proto=136).hex())}")
        + send(f"IP(dst='{WEB}', proto=136)/{raw(udplite(CLIENT, WEB, (1500, 99), b'data', 9, proto=136).hex())}")
        + send(f"IP(dst='{WEB}', proto=136)/{raw(udplite(CLIENT, WEB, (1500, 99), b'data', proto=17).hex())}")
        + send(f"IP(dst='{WEB}', proto=136)/{raw(udplite(CLIENT, WEB, (1500, 99), b'data', 30, proto=136).hex())}")
    },
    "dccp-masqueraded": {
        "steps": send(f"IP(dst='{EXTERNAL}', proto=33)/{raw('05dc07d0050000006162636465666768')}") * 2
    },
    "udp-shorter-than-ip": {
        "steps": send(f"IP(dst='{EXTERNAL}')/{PLAIN_UDP}, len=11, chksum=0)/'abcdef'")
        + send(f"IP(dst='{EXTERNAL}')/{PLAIN_UDP}, len=11)/'abcdef'")
        + send(f"IP(dst='{EXTERNAL}')/{PLAIN_UDP}, len=11, chksum=77)/'abcdef'")
    },
    "udp-shorter-closed-port": {
        "steps": send(f"IP(dst='{WEB}', proto=17)/{raw(udp(CLIENT, WEB, (44, 99), b'abcdef', 11, 'part').hex())}")
        + send(f"IP(dst='{WEB}', proto=17)/{raw(udp(CLIENT, WEB, (44, 99), b'abcdef', 11, 'none').hex())}")
    },
    "udp-longer-than-ip": {"steps": send(f"IP(dst='{EXTERNAL}')/{PLAIN_UDP}, len=19, chksum=0)/'abcdef'")},
    "udp-length-0": {"steps": send(f"IP(dst='{EXTERNAL}')/{PLAIN_UDP}, len=0, chksum=0)/'abcdef'")},
    "icmp-unknown-type": {"steps": send(f"IP(dst='{EXTERNAL}')/ICMP(type=30)")},
    "icmp-bad-checksum": {"steps": send(f"IP(dst='{EXTERNAL}')/ICMP(id=3, chksum=7)")},
}


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(scenario(**ROWS[name]), "table")
