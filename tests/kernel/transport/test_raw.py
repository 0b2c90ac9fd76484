"""Raw packets as Linux sends them (raw_send_hdrinc), and 0.0.0.0 as a destination (ip_route_output_key_hash_rcu)."""

from __future__ import annotations

import errno

import pytest

from emu import craft
from emu.errors import SocketError
from emu.lab import Lab
from emu.wire.checksum import checksum


@pytest.fixture
def lab() -> Lab:
    made = Lab()
    made.cable(made.host("a"), "10.0.0.1/24", made.host("b"), "10.0.0.2/24")
    return made


@pytest.mark.parametrize("fields", ["src='0.0.0.0'", "len=99", "chksum=7", "len=4, chksum=7, src='0.0.0.0'"])
def test_the_kernel_writes_length_checksum_and_source(lab: Lab, fields: str) -> None:
    packet = craft.expression(f"IP(dst='10.0.0.2', {fields})/ICMP()/'abc'")
    frame = lab.namespaces["a"].sockets.send_packet(packet)
    head = bytes(frame.buf[14:34])
    assert head[2:4] == (31).to_bytes(2, "big") and head[12:16] == bytes((10, 0, 0, 1)) and checksum(head) == 0


def test_a_given_source_stays(lab: Lab) -> None:
    frame = lab.namespaces["a"].sockets.send_packet(craft.expression("IP(src='1.2.3.4', dst='10.0.0.2')/ICMP()"))
    assert bytes(frame.buf[26:30]) == bytes((1, 2, 3, 4))


def test_longer_than_the_link(lab: Lab) -> None:
    text = "x" * 1473
    with pytest.raises(SocketError) as caught:
        lab.namespaces["a"].sockets.send_packet(craft.expression(f"IP(dst='10.0.0.2')/UDP()/'{text}'"))
    assert caught.value.errno == errno.EMSGSIZE


def test_nowhere_is_this_host(lab: Lab) -> None:
    host = lab.namespaces["a"]
    server, client = host.sockets.udp(), host.sockets.udp()
    server.bind(("0.0.0.0", 53))
    client.connect(("0.0.0.0", 53))
    client.send(b"hello")
    assert server.recvfrom()[1][0] == "127.0.0.1"
    bound = host.sockets.udp()
    bound.bind(("10.0.0.1", 0))
    bound.sendto(b"hello", ("0.0.0.0", 53))
    assert server.recvfrom()[1][0] == "10.0.0.1"
