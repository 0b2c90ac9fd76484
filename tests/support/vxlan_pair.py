"""Two hosts with a VXLAN device each, in the emulator and in this machine's kernel: what each frame sets off.

a 10.0.0.1 (vx0: 10.1.0.1) -- b 10.0.0.2 (vx0: 10.1.0.2). No host sends ARP. A line of an answer is an interface, a
direction and the frame; of the outer packet `xx` is an identification that is not 0, `good` a right checksum, and a
source port is `p1`, `p2` ... by first appearance at a host. A dropped packet is the interface and the kernel's reason.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from emu.errors import SocketError
from emu.kernel import boot
from emu.lab import Lab
from emu.trail import Dropped
from emu.twin.drop_monitor import DropMonitor, NoMonitor
from emu.wire.checksum import ones_sum
from emu.wire.frame import Frame
from kernel_lab import kernel_lab, know

A, B, C = (bytes((2, 0, 0, 0, 0, last)) for last in (0xA0, 0xB0, 0xC0))
VA, VB, VC = (bytes((2, 0, 0, 0, 1, last)) for last in (0xA0, 0xB0, 0xC0))
BRIDGE, PORT, POD = (bytes((2, 0, 0, 0, 2, last)) for last in (0xBB, 0xB1, 0x0B))
TO_B, TO_A = "append 00:00:00:00:00:00 dev vx0 dst 10.0.0.2", "append 00:00:00:00:00:00 dev vx0 dst 10.0.0.1"
# what a socket that closes leaves behind, frames for others, what only the judge's own socket receives, and answers to pings
# that no program sent
NOT_COMPARED = ("QUEUE_PURGE", "NO_SOCKET", "OTHERHOST", "UNHANDLED_PROTO")
QUIET_S = 0.012


@dataclass(frozen=True)
class Setup:
    """`a` and `b`: the words behind `type vxlan`; `a_fdb` and `b_fdb` those behind `bridge fdb`. `mtu` is vx0's on a (None:
    the kernel's). `bridge`: a's vx0 is a port of br0, whose other port connects a pod. `sysctls` are a's."""

    a: str = "id 7 local 10.0.0.1 dstport 8472 dev eth0"
    b: str = "id 7 local 10.0.0.2 dstport 8472"
    a_fdb: tuple[str, ...] = (TO_B,)
    b_fdb: tuple[str, ...] = (TO_A,)
    mtu: int | None = None
    bridge: bool = False
    rules: str = ""
    sysctls: tuple[tuple[str, str], ...] = ()

    def build(self) -> Lab:
        lab = Lab()
        a, b = lab.host("a"), lab.host("b")
        for key, value in self.sysctls:
            a.sysctl[key] = value
        boot.veth(a, "eth0", b, "eth0", A, B)
        for net, host in ((a, "10.0.0.1/24"), (b, "10.0.0.2/24")):
            boot.address(net, "eth0", host)
        know(a, "eth0", {"10.0.0.2": B, "10.0.0.3": C})
        know(b, "eth0", {"10.0.0.1": A})
        for net, mac, text, mtu, entries in ((a, VA, self.a, self.mtu, self.a_fdb), (b, VB, self.b, None, self.b_fdb)):
            boot.vxlan(net, "vx0", mac, text, mtu)
            for entry in entries:
                boot.fdb(net, entry)
        place = "vx0"
        if self.bridge:
            pod, place = lab.host("pod"), "br0"
            bridge = boot.bridge(a, "br0", BRIDGE)
            bridge.add_port(boot.veth(a, "p1", pod, "eth0", PORT, POD)[0])
            bridge.add_port(a.device("vx0"))
            bridge.adjust_mtu()
            boot.address(pod, "eth0", "10.1.0.5/24")
            know(pod, "eth0", {"10.1.0.2": VB})
        boot.address(a, place, "10.1.0.1/24")
        boot.address(b, "vx0", "10.1.0.2/24")
        know(a, place, {"10.1.0.2": VB, "10.1.0.3": VC})
        know(b, "vx0", {"10.1.0.1": BRIDGE if self.bridge else VA, "10.1.0.5": POD})
        if self.rules:
            boot.iptables_restore(a, self.rules)
        return lab


class Send(NamedTuple):
    """A frame that a program sends on a device."""

    net: str
    device: str
    data: bytes


class Datagram(NamedTuple):
    """A datagram that a new socket sends: from a namespace, to an address, `size` bytes."""

    net: str
    dst: str
    size: int


class Case(NamedTuple):
    label: str
    acts: tuple[Send | Datagram, ...]


def emulated(setup: Setup, cases: list[Case]) -> Iterator[list[str]]:
    lab = setup.build()
    dropped: list[tuple[str, Dropped]] = []

    def note(name: str) -> Callable[[Frame, Dropped], None]:
        return lambda _frame, fact: dropped.append((name, fact))

    for name, net in lab.namespaces.items():
        net.drop_listeners.append(note(name))
    for case in cases:
        before = len(lab.frames())
        dropped.clear()
        for act in case.acts:
            net = lab.namespaces[act.net]
            if isinstance(act, Send):
                net.sockets.send_packet(act.data, device=act.device)
            else:
                socket_ = net.sockets.udp()
                with suppress(SocketError):
                    socket_.sendto(bytes(act.size), (act.dst, 9999))
                socket_.close()
            lab.clock.drain()
        lab.run(0.01)
        seen = [
            (each.place.owner, each.place.device_name, each.direction, each.data)
            for each in lab.frames()[before:]
            if not each.interface.endswith("/drop")
        ]
        yield lines(seen, [(name, fact.device, fact.reason) for name, fact in dropped])


def kernel(setup: Setup, cases: list[Case]) -> Iterator[list[str]]:
    """The same of this machine's kernel. Without a drop monitor, reasons are `?`."""
    with kernel_lab(setup.build(), QUIET_S, 2048) as there, ExitStack() as monitors:
        monitor = None
        with suppress(NoMonitor):
            monitor = monitors.enter_context(closing(DropMonitor()))
        numbers = {Path(space.path).stat().st_ino: name for name, space in there.spaces.items()}
        for case in cases:
            if monitor is not None:
                monitor.take()
            for act in case.acts:
                if isinstance(act, Send):
                    there.send(act.net, act.device, act.data)
                    continue
                with (
                    there.spaces[act.net].inside(),
                    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket,
                    suppress(OSError),
                ):
                    any_socket.sendto(bytes(act.size), (act.dst, 9999))
            seen = [(each.space, each.device, each.way.partition("-")[0], each.data) for each in there.take()]
            drops = [] if monitor is None else monitor.take()
            known = [(numbers[each.space], each.device, each.reason) for each in drops if each.space in numbers]
            yield lines(seen, known)


def same(ours: list[str], theirs: list[str]) -> bool:
    """Are they the same lines? A packet that the kernel drops without a reason may have any here."""
    return len(ours) == len(theirs) and all(
        mine == its or (its.endswith(" drops NOT_SPECIFIED") and mine.startswith(its.removesuffix("NOT_SPECIFIED")))
        for mine, its in zip(ours, theirs, strict=True)
    )


def lines(seen: list[tuple[str, str, str, bytes]], drops: list[tuple[str, str, str]]) -> list[str]:
    """Each interface in its order, then the drops."""
    ports: dict[bytes, str] = {}
    text = [
        f"{net}/{device} {way} {words(data, ports)}"
        for net, device, way, data in sorted(seen, key=lambda each: each[:2])
        if device != "lo"
    ]
    return text + sorted(
        f"{net}/{device} drops {reason}" for net, device, reason in drops if reason not in NOT_COMPARED
    )


def words(data: bytes, ports: dict[bytes, str]) -> str:
    """A frame as text: what chance decides in its own headers is named."""
    text = [f"{byte:02x}" for byte in data]
    if data[12:14] != b"\x08\0" or len(data) < 34:
        return "".join(text)
    text[18:20] = ["xx", "xx"] if data[18:20] != b"\0\0" else ["00", "00"]
    text[24:26] = ["go", "od"] if not ones_sum(data[14:34]) else ["b", "ad"]
    total = 14 + (data[16] << 8 | data[17])
    tunnel, offset = data[23] == 17 and data[36:38] == b"\x21\x18", (data[20] & 0x1F) << 8 | data[21]
    if data[23] == 1 and not offset and data[34] == 3:  # an error: its quote, and with it its checksum
        text[36:38] = "su", "m."
        return "".join(text[:42]) + f" {words(bytes(12) + data[12:14] + data[42:], ports)}"
    if offset or data[23] != 17 or len(data) < 42:
        return "".join(text)
    if data[36:38] == b"\x27\x0f":  # an ephemeral port of the test's own socket
        text[34:36], text[40:42] = ["ow", "n."], ["su", "m."]
    if not tunnel:
        return "".join(text)
    text[34:36] = [ports.setdefault(data[26:30] + data[34:36], f"p{len(ports) + 1}"), "/"]
    right = (ones_sum(data[34:total]) + ones_sum(data[26:34]) + 17 + (total - 34)) % 0xFFFF == 0
    text[40:42] = ["none", ""] if data[40:42] == b"\0\0" else ["good" if right or data[20] & 0x20 else "bad", ""]
    return "".join(text[:50]) + f" {words(data[50:], ports)}"
