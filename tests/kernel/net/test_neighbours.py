"""Neighbours that go, announcements of a link, and the bounds of the machine's table and of a queue."""

from __future__ import annotations

import pytest

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.net import neighbour as nud
from emu.kernel.net.netns import Netns
from emu.kernel.net.truesize import datagram
from emu.lab import Lab
from emu.wire import arp
from emu.wire.addr import ip4, ip4_text
from emu.wire.frame import AF_INET, ETH_P_ARP, Frame
from sinks import sink

ABSENT = "10.0.0.9"


class Host:
    """A namespace with one link into a sink, and a socket that notes errors."""

    def __init__(self, **sysctls: int) -> None:
        self.clock = Clock()
        self.net = boot.namespace(
            self.clock, "host", {name.replace("__", "."): value for name, value in sysctls.items()}
        )
        self.eth0 = sink(self.clock, "eth0", b"\2\0\0\0\0\1")
        self.net.attach(self.eth0)
        boot.address(self.net, self.eth0, "10.0.0.1/8")
        self.socket = self.net.sockets.udp()
        self.socket.connect((ABSENT, 9))

    def states(self) -> list[str]:
        return [each.state for each in self.net.neighbours]

    def asked(self) -> list[tuple[str, str]]:
        """The requests that were sent: the sender's address, and the one that was asked for."""
        found = [arp.parse(frame) for _, _, frame in self.eth0.sent if frame.ethertype == ETH_P_ARP]
        return [(ip4_text(each.spa), ip4_text(each.tpa)) for each in found if each is not None]

    def send(self, to: str) -> None:
        self.net.sockets.udp().sendto(b"x", (to, 9))


@pytest.mark.parametrize(
    ("event", "answered", "reason"),
    [
        ("delete", True, "NEIGH_FAILED"),
        ("flush", True, "NEIGH_FAILED"),
        ("address", False, "QUEUE_PURGE"),
        ("carrier", False, "QUEUE_PURGE"),
        ("down", False, "QUEUE_PURGE"),
    ],
)
def test_a_waiting_sender_learns_only_of_a_deletion(event: str, answered: bool, reason: str) -> None:
    """`ip neigh del` and `flush` answer with host unreachable; a link that goes takes what waits along in silence."""
    host = Host()
    host.socket.send(b"x")
    assert host.states() == ["INCOMPLETE"]
    if event == "delete":
        host.net.delete_neighbour("eth0", ip4(ABSENT))
    elif event == "flush":
        host.net.flush_neighbours()
    elif event == "address":
        host.net.ipv4.remove_address(host.net.addresses[-1])
    elif event == "carrier":
        host.net.set_carrier("eth0", on=False)
    else:
        host.net.set_link("eth0", up=False)
    host.clock.drain()
    assert host.states() == []
    assert host.net.drops == {reason: 1}
    assert [(each.kind, each.code) for each in host.socket.errors] == ([(3, 1)] if answered else [])
    before = len(host.asked())
    host.clock.run_until(host.clock.now + 5 * 10**9)
    assert len(host.asked()) == before, "nothing more is asked"


def test_what_is_set_by_hand_stays_when_all_are_flushed() -> None:
    host = Host()
    entry = nud.lookup(host.net.ipv4, host.eth0, ip4(ABSENT))
    assert entry is not None
    entry.update(b"\2\0\0\0\0\2", nud.PERMANENT)
    host.net.flush_neighbours()
    assert host.states() == ["PERMANENT"]
    host.net.delete_neighbour("eth0", ip4(ABSENT))
    with pytest.raises(InputError, match="no such neighbour"):
        host.net.delete_neighbour("eth0", ip4(ABSENT))


@pytest.mark.parametrize(("level", "announced"), [("eth0", True), ("all", True), ("", False)])
def test_a_link_announces_its_addresses_first_ones_first(level: str, announced: bool) -> None:
    host = Host()
    boot.address(host.net, host.eth0, "10.0.0.2/8")
    boot.address(host.net, host.eth0, "172.16.0.2/16")
    if level:
        host.net.sysctl[f"net.ipv4.conf.{level}.arp_notify"] = 1
    host.net.set_link("eth0", up=False)
    host.net.set_link("eth0", up=True)
    wanted = [(each, each) for each in ("10.0.0.1", "172.16.0.2", "10.0.0.2")]
    assert host.asked() == (wanted if announced else [])


def test_the_table_is_full_at_its_third_threshold() -> None:
    host = Host()
    for number in range(1100):
        host.send(f"10.1.{number // 250}.{number % 250 + 1}")
    assert len(host.states()) == len(host.net.ipv4.neighbours) == 1024
    assert host.net.drops == {"NEIGH_CREATEFAIL": 76}
    assert host.net.ipv4.neighbours.overflows == 76
    host.clock.run_until(host.clock.now + 5 * 10**9)  # all have failed, so that they can go
    host.send("10.2.0.1")
    assert len(host.states()) == 513, "as many as are above the second threshold make room"


def test_a_full_table_answers_no_stranger() -> None:
    host = Host(net__ipv4__neigh__default__gc_thresh3=1)
    host.send("10.1.0.1")
    for sender in ("10.1.0.1", "10.1.0.2"):
        host.net.born += 1
        host.eth0.receive(_request(sender))
    answered = [frame for _, _, frame in host.eth0.sent if frame.ethertype == ETH_P_ARP and frame.buf[21] == 2]
    assert len(answered) == 1


def _request(sender: str) -> Frame:
    spa, mac = ip4(sender).to_bytes(4, "big"), b"\2\0\0\0\0\7"
    head = b"\xff" * 6 + mac + b"\x08\x06" + bytes.fromhex("0001080006040001")
    return Frame.parse(head + mac + spa + bytes(6) + bytes((10, 0, 0, 1)), 0, None)


def test_namespaces_of_one_machine_share_the_table() -> None:
    clock = Clock()
    node = boot.namespace(clock, "node", {"net.ipv4.neigh.default.gc_thresh3": 3})
    pods = [boot.namespace(clock, f"pod-{number}", machine=node) for number in range(2)]

    def ask(net: Netns, count: int) -> None:
        link = net.attach(sink(clock, "eth0", b"\2\0\0\0\0\1"))
        boot.address(net, link, "10.0.0.1/8")
        for number in range(count):
            net.sockets.udp().sendto(b"x", (f"10.0.1.{number}", 9))

    ask(pods[0], 2)
    ask(pods[1], 2)
    assert [len(list(each.neighbours)) for each in pods] == [2, 1]
    assert pods[1].drops == {"NEIGH_CREATEFAIL": 1}
    pods[0].detach(pods[0].device("eth0"))
    pods[1].sockets.udp().sendto(b"x", ("10.0.1.9", 9))
    assert len(list(pods[1].neighbours)) == 2


def test_an_unused_entry_goes_only_from_a_large_table() -> None:
    """neigh_periodic_work: from gc_thresh1 entries on, what was not used for gc_stale_time (60 s) goes."""
    for count, left in ((20, 20), (130, 0)):
        host = Host()
        for number in range(count):
            entry = nud.lookup(host.net.ipv4, host.eth0, ip4("10.3.0.1") + number)
            assert entry is not None
            entry.update(b"\2\0\0\0\0\2", nud.STALE)
        host.clock.run_until(host.clock.now + 59 * 10**9)
        assert len(host.states()) == count
        host.clock.run_until(host.clock.now + 17 * 10**9)
        assert len(host.states()) == left


@pytest.mark.parametrize(
    ("length", "size"), [(28, 832), (225, 832), (226, 1280), (673, 1280), (674, 2304), (1500, 2304)]
)
def test_what_a_datagram_costs(length: int, size: int) -> None:
    assert datagram(length) == size


@pytest.mark.parametrize(
    ("payload", "limit", "kept"), [(1, 4000, 4), (600, 4000, 3), (1472, 4000, 1), (1472, 4608, 2), (1, 831, 0)]
)
def test_a_queue_counts_what_its_packets_cost(payload: int, limit: int, kept: int) -> None:
    host = Host()
    host.net.sysctl["net.ipv4.neigh.eth0.unres_qlen_bytes"] = limit
    for _ in range(6):
        host.net.sockets.udp().sendto(b"x" * payload, (ABSENT, 9))
    (entry,) = host.net.neighbours
    # a packet that is larger than the limit waits alone
    assert len(entry.queue) == (kept or 1)
    assert host.net.drops["NEIGH_QUEUEFULL"] == 6 - (kept or 1)


def test_the_queue_of_a_flow_that_goes_on_waiting_is_counted_right() -> None:
    host = Host()
    for _ in range(3):
        host.socket.send(b"x")
    (entry,) = host.net.neighbours
    assert entry.queued_bytes == 3 * 832
    entry.update(b"\2\0\0\0\0\2", nud.REACHABLE)
    assert entry.queued_bytes == 0
    assert host.eth0.neigh[AF_INET][ip4(ABSENT)] is entry


def test_a_lab_host_that_lost_its_last_address_asks_no_more() -> None:
    lab = Lab()
    client, other = lab.host("client"), lab.host("other")
    lab.cable(client, "10.0.0.1/24", other, "10.0.0.2/24")
    boot.route(client, "default via 10.0.0.2")
    client.sockets.udp().sendto(b"x", (ABSENT, 9))
    client.ipv4.remove_address(client.addresses[-1])
    before = len(lab.frames("client/eth0"))
    lab.run(4)
    assert len(lab.frames("client/eth0")) == before
    assert client.ipv4.fib.lookup(ip4("192.0.2.1")) is None, "its routes went, too"
