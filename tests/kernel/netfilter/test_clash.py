"""Two first packets of one flow that two CPUs handle at one time: what goes on, and whose answers are translated back.

What a kernel did is written down by hand: Linux 6.18, where both packets waited in an NFQUEUE of FORWARD, between NAT and the
end of the way, and were then let go in their order.
"""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit
from scapy.packet import Packet, Raw

from emu.clock import MS
from emu.kernel import boot
from emu.lab import Lab
from emu.wire.addr import ip4, ip4_text
from emu.wire.frame import Frame

SERVICE, ONE, TWO = "10.96.0.10", "10.0.2.2", "10.0.2.3"


class Bench:
    """A client, a router that sends to one address of a server or the other in turn, and the server."""

    def __init__(self, first: str = ONE, second: str = TWO, cpus: int = 2) -> None:
        lab = self.lab = Lab()
        self.client, self.router, self.server = lab.host("client"), lab.router("router"), lab.host("server")
        lab.cable(self.client, "10.0.1.2/24", self.router, "10.0.1.1/24", default=True)
        lab.cable(self.server, f"{ONE}/24", self.router, "10.0.2.1/24", default=True)
        boot.address(self.server, self.server.device("eth0"), f"{TWO}/24")
        rule = f"-t nat -A PREROUTING -d {SERVICE}"
        lab.iptables(
            self.router,
            f"{rule} -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination {first}",
            f"{rule} -j DNAT --to-destination {second}",
        )
        lab.iptables(self.server, "-A OUTPUT -p tcp -j DROP")  # a RST ends the connection
        lab.clock.cpus = cpus

    def at_once(self, *payloads: Packet) -> list[str]:
        """Put packets for the Service on the client's cable at one time: where they arrive."""
        device = self.client.device("eth0")
        mac = self.router.device("eth0").mac
        for payload in payloads:
            packet = Ether(src=device.mac, dst=mac) / IP(src="10.0.1.2", dst=SERVICE) / payload
            device.transmit(Frame.parse(bytes(packet)))
        self.lab.clock.drain()
        return self.arrived("server", "10.0.1.2")

    def answer(self, src: str) -> str:
        """The server answers the client's datagram from one of its addresses: the source that the client sees."""
        device = self.server.device("eth0")
        packet = IP(src=src, dst="10.0.1.2") / UDP(sport=9, dport=1000) / Raw(b"answer")
        device.transmit(Frame.parse(bytes(Ether(src=device.mac, dst=self.router.device("eth1").mac) / packet)))
        self.lab.clock.drain()
        assert self.lab.capture is not None
        seen = [Frame.parse(each.data) for each in self.lab.capture.frames() if each.place.owner == "client"]
        return ip4_text(next(frame.src for frame in reversed(seen) if frame.dst == ip4("10.0.1.2")))

    def arrived(self, owner: str, src: str) -> list[str]:
        assert self.lab.capture is not None
        seen = [
            Frame.parse(each.data)
            for each in self.lab.capture.frames()
            if each.place.owner == owner and each.direction == "in"
        ]
        return [ip4_text(frame.dst) for frame in seen if frame.proto >= 0 and frame.src == ip4(src)]

    @property
    def counted(self) -> tuple[int, int]:
        stat = self.router.conntrack.stat
        return stat.clash_resolve, stat.insert_failed


ASK = UDP(sport=1000, dport=9) / Raw(b"ask")
KINDS: list[tuple[str, Packet, bool]] = [
    ("UDP", ASK, True),
    ("another protocol", Raw(b"abcd"), True),
    ("TCP", TCP(sport=1000, dport=9, flags="S"), False),
    ("ICMP", ICMP(id=7, seq=1), False),
    ("SCTP", SCTP(sport=5, dport=6) / SCTPChunkInit(), False),
]


@pytest.mark.parametrize("second", [ONE, TWO], ids=["one endpoint", "two endpoints"])
@pytest.mark.parametrize(("payload", "both"), [each[1:] for each in KINDS], ids=[each[0] for each in KINDS])
def test_which_packets_go_on(payload: Packet, both: bool, second: str) -> None:
    bench = Bench(second=second)
    arrived = bench.at_once(payload, payload)
    assert sorted(arrived) == (sorted((ONE, second)) if both else arrived[:1])
    assert bench.counted == ((1, 0) if both else (0, 1))
    assert len(bench.router.conntrack) == 1  # a dump lists what owns its original tuple


def test_one_cpu_handles_one_after_the_other() -> None:
    bench = Bench(cpus=1)
    assert bench.at_once(ASK, ASK) == [ONE, ONE]
    assert bench.counted == (0, 0)


@pytest.mark.parametrize(("after_ns", "source"), [(0, SERVICE), (900 * MS, SERVICE), (1200 * MS, TWO)])
def test_the_one_that_lost_serves_answers_for_a_second(after_ns: int, source: str) -> None:
    bench = Bench(TWO, ONE)  # the packet that is handled beside the first one wins: it goes to ONE
    assert bench.at_once(ASK, ASK) == [ONE, TWO]
    bench.lab.clock.run_until(bench.lab.clock.now + after_ns)
    assert [bench.answer(TWO), bench.answer(TWO)] == [source, source]
    assert bench.answer(ONE) == SERVICE


def test_an_answer_does_not_make_it_live_longer() -> None:
    bench = Bench(TWO, ONE)
    bench.at_once(ASK, ASK)
    for after_ns, source in ((100 * MS, SERVICE), (1500 * MS, TWO)):
        bench.lab.clock.run_until(after_ns)
        assert bench.answer(TWO) == source
    owner = bench.router.conntrack.find((17, ip4("10.0.1.2"), ip4(SERVICE), 1000, 9))
    assert owner is not None and owner.reply[1] == ip4(ONE)
