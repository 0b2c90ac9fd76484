"""A UDP socket's send buffer: what waits for a neighbour counts by its truesize. Numbers of a Linux 6.18."""

from __future__ import annotations

import errno

import pytest

import emu
from emu.errors import SocketError
from emu.kernel.net.netns import Netns
from emu.kernel.transport.udp import UdpSocket


def sent(socket: UdpSocket, size: int, most: int = 400) -> int:
    for count in range(most):
        if socket.waiting >= socket.sndbuf // 2:
            with pytest.raises(SocketError) as refused:
                socket.sendto(bytes(size), ("10.0.0.9", 9))
            assert refused.value.errno == errno.EAGAIN
            return count
        socket.sendto(bytes(size), ("10.0.0.9", 9))
    return most


@pytest.fixture
def two() -> tuple[emu.Lab, Netns]:
    lab = emu.Lab()
    client, other = lab.host("client"), lab.host("other")
    lab.cable(client, "10.0.0.1/24", other, "10.0.0.2/24")
    return lab, client


@pytest.mark.parametrize(("size", "taken"), [(190, 128), (500, 84), (1000, 47), (1472, 47), (3000, 20), (8000, 9)])
def test_a_program_that_polls_sends_until_half_of_the_buffer_waits(
    two: tuple[emu.Lab, Netns], size: int, taken: int
) -> None:
    lab, client = two
    socket = client.sockets.udp()
    assert sent(socket, size) == taken
    lab.run(3.2)  # the neighbour fails, and what waited is answered with host unreachable
    assert socket.waiting == 0 and socket.errors
    assert sent(socket, size, 1) == 1


def test_the_size_of_the_buffer_is_the_sysctls(two: tuple[emu.Lab, Netns]) -> None:
    _, client = two
    client.sysctl["net.core.wmem_default"] = 4608
    assert sent(client.sockets.udp(), 1000) == 1


def test_what_has_left_costs_nothing(two: tuple[emu.Lab, Netns]) -> None:
    lab, client = two
    socket = client.sockets.udp()
    for _ in range(200):
        socket.sendto(bytes(1000), ("10.0.0.2", 9))
        lab.run(0.001)
    assert socket.waiting == 0
