"""A connection that a SYN with IP options opened: each packet of the server has them, and the segments leave room.

The sizes are those of Linux 6.18 for the same frames.
"""

from __future__ import annotations

import struct

from emu.kernel.net.netns import Netns
from emu.lab import Lab
from emu.wire.frame import Frame
from odd_frame_cases import ME, SERVER, SETUPS, packet, record_route, transport
from odd_frames import CLIENT

SYN, ACK = 2, 16
ISS = 1000


def sent(lab: Lab, client: Netns, flags: int, seq: int, ack: int, options: bytes = b"") -> None:
    body = struct.pack("!HHIIBBHHH", 5002, 22, seq, ack, 0x50, flags, 10000, 0, 0)
    data = packet(SERVER, 6, transport(6, body, 16, ME, SERVER, len(body)), options=options)
    client.born += 1
    frame = SETUPS["narrow"].gateway + CLIENT + b"\x08\0" + data
    client.devices["eth0"].transmit(Frame.parse(frame, 0, []))
    lab.run(0.05)


def test_the_server_echoes_the_options_of_the_syn() -> None:
    lab = SETUPS["narrow"].build()  # the server's cable has an MTU of 500
    client, server = lab.namespaces["client"], lab.namespaces["server"]
    lab.iptables(client, "-A INPUT -p tcp -j DROP")
    listener = server.sockets.tcp()
    listener.bind(("10.0.2.2", 22))
    listener.listen(5)
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


def answers(lab: Lab) -> list[bytes]:
    return [each.data for each in lab.frames("server/eth0") if each.direction == "out"]
