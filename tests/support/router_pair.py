"""One router between two hosts, twice: of this machine's kernel, and emu's. Both get the same frames from either side.

`verdict` is the word of `-m conntrack` that the rules of FORWARD saw ("" if the packet did not come so far), `conns` the
lines of `conntrack -L`, `got` what left. The hosts answer nothing: they have no address.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from emu.kernel import boot
from emu.kernel.netfilter.conntrack_list import render
from emu.lab import Lab
from emu.twin.space import Space
from emu.wire.frame import Frame
from kernel_lab import know

STATES = ("INVALID", "NEW", "ESTABLISHED", "RELATED", "UNTRACKED")
FILTER = "*filter\n" + "".join(f"-A FORWARD -m conntrack --ctstate {state}\n" for state in STATES) + "COMMIT\n"
MASQUERADE = "*nat\n-A POSTROUTING -o eth1 -j MASQUERADE\nCOMMIT\n"
HOSTS = {"eth0": ("10.0.1.2", "10.0.1.3"), "eth1": ("10.0.2.2", "10.0.2.3")}
DEVICES = {"c": "eth0", "s": "eth1"}
MACS = {"eth0": bytes((2, 0, 0, 0, 0, 0xA0)), "eth1": bytes((2, 0, 0, 0, 0, 0xA1))}
FAR = {"eth0": bytes((2, 0, 0, 0, 0, 0x11)), "eth1": bytes((2, 0, 0, 0, 0, 0x22))}
SENDER = bytes((2, 0, 0, 0, 0, 0x33))
_SECONDS = re.compile(r"^(\S+ +2 \S+ +\d+) (\d+) ")
_COUNTED = re.compile(r"\[(\d+):\d+\] -A FORWARD .*--ctstate (\S+)$")


class Router(Protocol):
    """What both have."""

    def send(self, side: str, packet: bytes) -> None:
        """An IPv4 packet from the client's side "c" or the server's "s"."""
        ...

    def got(self, side: str) -> list[str]:
        """The IPv4 packets that left to that side because of the last one, as hex."""
        ...

    def conns(self) -> list[str]: ...

    def saved(self) -> str:
        """`iptables-save -c`."""
        ...


def verdict(router: Router, side: str, packet: bytes) -> str:
    """Send it; what FORWARD's rules saw."""
    before = _counted(router)
    router.send(side, packet)
    after = _counted(router)
    return next((word for word, count in after.items() if count != before.get(word, 0)), "")


def _counted(router: Router) -> dict[str, int]:
    found = (_COUNTED.fullmatch(line.strip()) for line in router.saved().splitlines())
    return {each[2]: int(each[1]) for each in found if each is not None}


SLACK_S = 5  # deadlines differ by ten and more: 30, 120, 180 or 600 s


def alike(one: list[str], other: list[str]) -> bool:
    """The same entries, their seconds to within what a busy machine lets pass."""
    left, right = sorted(map(_split, one)), sorted(map(_split, other))
    return [line for line, _ in left] == [line for line, _ in right] and all(
        abs(a - b) <= SLACK_S for (_, a), (_, b) in zip(left, right, strict=True)
    )


def _split(line: str) -> tuple[str, int]:
    head = _SECONDS.match(line)
    assert head is not None, line
    return re.sub(r" use=\d+", "", _SECONDS.sub(r"\1 ", line)).strip(), int(head[2])


class EmuRouter:
    def __init__(self, rules: str = FILTER) -> None:
        self.lab = Lab()
        self.net = self.lab.host("router", net__ipv4__ip_forward=1)
        self._hosts = {side: self.lab.host(side) for side in DEVICES}
        for side, name in DEVICES.items():
            boot.veth(self.net, name, self._hosts[side], "eth0", MACS[name], FAR[name])
            boot.address(self.net, name, HOSTS[name][0][:-1] + "1/24")
            know(self.net, name, dict.fromkeys(HOSTS[name], FAR[name]))
        boot.iptables_restore(self.net, rules)
        self._seen = 0

    def set(self, variable: str, value: int) -> None:
        self.net.sysctl[variable] = value

    def send(self, side: str, packet: bytes) -> None:
        self._seen = len(self.lab.frames())
        frame = Frame.parse(MACS[DEVICES[side]] + SENDER + b"\x08\x00" + packet, 0, [])
        self._hosts[side].device("eth0").transmit(frame)
        self.lab.clock.drain()

    def wait(self, seconds: float) -> None:
        self.lab.run(seconds)

    def got(self, side: str) -> list[str]:
        own = f"router/{DEVICES[side]}"
        frames = self.lab.frames()[self._seen :]
        return [each.data[14:].hex() for each in frames if each.interface == own and each.direction == "out"]

    def conns(self) -> list[str]:
        return [render(conn, self.lab.clock.now) for conn in self.net.conntrack or ()]

    def saved(self) -> str:
        return self.net.ipv4.tables.save(counters=True)


class KernelRouter:
    def __init__(self, rules: str = FILTER) -> None:
        self.space = Space("router")
        self._hosts = {side: Space(side) for side in DEVICES}
        self._sockets: dict[str, socket.socket] = {}
        self.space.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        for side, name in DEVICES.items():
            far = self._hosts[side]
            self.space.run(
                "ip", "link", "add", name, "address", MACS[name].hex(":"), "type", "veth", "peer", "name", "eth0", "netns",
                far.path,
            )  # fmt: skip
            self.space.run("ip", "address", "add", HOSTS[name][0][:-1] + "1/24", "dev", name)
            self.space.run("ip", "link", "set", name, "up")
            far.run("ip", "link", "set", "eth0", "up")
            for host in HOSTS[name]:
                self.space.run("ip", "neigh", "replace", host, "lladdr", FAR[name].hex(":"), "dev", name)
            with far.inside():
                opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
            opened.bind(("eth0", 0))
            opened.setblocking(False)
            self._sockets[side] = opened
        self.space.run("iptables-restore", text=rules)

    def set(self, variable: str, value: int) -> None:
        self.space.run("sysctl", "-qw", f"{variable}={value}")

    def send(self, side: str, packet: bytes) -> None:
        for each in DEVICES:
            self.got(each)
        self._sockets[side].send(MACS[DEVICES[side]] + SENDER + b"\x08\x00" + packet)

    def got(self, side: str) -> list[str]:
        found: list[str] = []
        while True:
            try:
                data, address = self._sockets[side].recvfrom(65536)
            except BlockingIOError:
                return found
            if address[2] != socket.PACKET_OUTGOING and data[12:14] == b"\x08\x00":
                found.append(data[14:].hex())

    def conns(self) -> list[str]:
        return [line for line in self.space.run("conntrack", "-L", "-o", "extended").splitlines() if line[:4] == "ipv4"]

    def flush(self) -> None:
        self.space.run("conntrack", "-F")

    def saved(self) -> str:
        return self.space.run("iptables-save", "-c")

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()
        for space in (*self._hosts.values(), self.space):
            space.close()


@contextmanager
def kernel_router(rules: str = FILTER) -> Iterator[KernelRouter]:
    made = KernelRouter(rules)
    try:
        yield made
    finally:
        made.close()
