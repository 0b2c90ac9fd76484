"""A connection that a SYN with IP options opened: each packet of the server has them, and the segments leave room.

The sizes are those of Linux 6.18 for the same frames.
"""

from __future__ import annotations

import struct

from emu.kernel.net.netns import Netns
from emu.kernel.transport.tcp_socket import TcpSocket
from emu.lab import Lab
from emu.wire.frame import Frame
from odd_frame_cases import ME, SERVER, SETUPS, packet, record_route, transport
from odd_frames import CLIENT

SYN, ACK, PSH = 2, 16, 8
ISS = 1000


def sent(
    lab: Lab, client: Netns, flags: int, seq: int, ack: int, options: bytes = b"", tos: int = 0, data: bytes = b""
) -> None:
    body = struct.pack("!HHIIBBHHH", 5002, 22, seq, ack, 0x50, flags, 10000, 0, 0) + data
    ip = packet(SERVER, 6, transport(6, body, 16, ME, SERVER, len(body)), options=options, tos=tos)
    client.born += 1
    frame = SETUPS["narrow"].gateway + CLIENT + b"\x08\0" + ip
    client.devices["eth0"].transmit(Frame.parse(frame, 0, []))
    lab.run(0.05)


def listening() -> tuple[Lab, Netns, TcpSocket]:
    """The lab, the client, which answers nothing, and the server's listener; the server's cable has an MTU of 500."""
    lab = SETUPS["narrow"].build()
    client = lab.namespaces["client"]
    lab.iptables(client, "-A INPUT -p tcp -j DROP")
    listener: TcpSocket = lab.namespaces["server"].sockets.tcp()
    listener.bind(("10.0.2.2", 22))
    listener.listen(5)
    return lab, client, listener


def test_the_server_echoes_the_options_of_the_syn() -> None:
    lab, client, listener = listening()
    sent(lab, client, SYN, ISS, 0, record_route(5))
    (accepted,) = answers(lab)
    options = accepted[34:58]
    assert options == bytes.fromhex("0717100a0002010a0002020a0002020000000000000000 00")
    assert accepted[-4:] == bytes.fromhex("020401cc"), "the MSS that is offered does not depend on them"
    isn = int.from_bytes(accepted[62:66], "big")
    sent(lab, client, ACK, ISS + 1, isn + 1)
    listener.accept().send(b"z" * 3000)
    lab.run(0.05)
    segments = answers(lab)[1:]
    assert [len(each) - 14 for each in segments] == [500] * 6 + [448]
    assert {each[34:58] for each in segments} == {options}


def test_a_reset_has_the_dscp_and_the_options_of_its_cause() -> None:
    """The reset of a request that is half open, and that of a connection whose program has closed."""
    lab, client, listener = listening()
    sent(lab, client, SYN, ISS, 0)
    isn = int.from_bytes(answers(lab)[0][38:42], "big")
    sent(lab, client, ACK, ISS + 1, isn + 77, record_route(2), 0xB9)
    assert [each[14:16].hex() for each in answers(lab)[1:]] == ["48b8"]
    sent(lab, client, ACK, ISS + 1, isn + 1, tos=0x28)
    listener.accept().close()
    lab.run(0.05)
    sent(lab, client, ACK | PSH, ISS + 1, isn + 2, record_route(2), 0x28, b"data")
    assert [each[14:16].hex() for each in answers(lab)[2:]] == ["4500", "4828"]
    assert answers(lab)[3][34:46].hex() == "070b0c0a0002010a00020200"


def answers(lab: Lab) -> list[bytes]:
    return [each.data for each in lab.frames("server/eth0") if each.direction == "out"]
