"""Single odd frames into a router: what leaves it, the server and the pod because of each, in the emulator and in a kernel.

client 10.0.1.2 -- router 10.0.1.1, 10.0.2.1 -- server 10.0.2.2. A `Setup` may put the client's side behind a bridge, with
the pod 10.0.1.3 as a second port. Each setup is built once, and its frames are sent one after another. `tools/golden
frames` records what this machine's kernel does with them (root, Linux). A line of an answer is the interface, then the
bytes; `xxxx` is an IP identification that is not 0, `good` a right checksum of an IP or ICMP header, `now.` a time of
the day that is the present, `stal` a wrong checksum that depends on such a time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from emu.clock import EPOCH_NS, MS
from emu.kernel import boot, commands
from emu.lab import Lab
from emu.twin.normalise import checksum
from emu.wire.frame import Frame
from kernel_lab import kernel_lab, know

FILE = Path(__file__).parent.parent / "reference/recorded/odd-frames.json"
CLIENT, SERVER, POD, BRIDGE = (bytes((2, 0, 0, 0, 0, last)) for last in (0x0C, 0x5E, 0x0B, 0xBB))
ROUTER0, ROUTER1, PORT1, PORT2 = (bytes((2, 0, 0, 0, 0, last)) for last in (0xA0, 0xA1, 0xB1, 0xB2))
DAY_MS = 86_400_000
NEAR_MS = 20_000  # a time of the day that is younger than this is the present
QUIET_S = 0.006
GAP_NS = 10 * MS  # between two cases, as in the kernel
# no limit of ICMP errors, and no redirects
SYSCTLS = {
    "net.ipv4.icmp_ratelimit": "0",
    "net.ipv4.icmp_ratemask": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
}


@dataclass(frozen=True)
class Setup:
    """`bridge`: the client and a pod are ports of the router's bridge. `mtu`: of the server's cable, bytes. `sysctls` and
    `routes` are the router's, `rules` its iptables-restore text."""

    bridge: bool = False
    mtu: int = 1500
    rules: str = ""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    routes: tuple[str, ...] = ()

    @property
    def gateway(self) -> bytes:
        """The MAC that the client sends to."""
        return BRIDGE if self.bridge else ROUTER0

    def build(self) -> Lab:
        lab = Lab()
        for name in ("client", "router", "server", "pod") if self.bridge else ("client", "router", "server"):
            net = lab.host(name)
            for key, value in {**SYSCTLS, **(self.sysctls if name == "router" else {})}.items():
                net.sysctl[key] = value
        client, router, server = (lab.namespaces[name] for name in ("client", "router", "server"))
        router.sysctl["net.ipv4.ip_forward"] = "1"
        side = "br0" if self.bridge else "eth0"
        if self.bridge:
            pod = lab.namespaces["pod"]
            bridge = boot.bridge(router, side, BRIDGE)
            bridge.add_port(boot.veth(router, "p1", client, "eth0", PORT1, CLIENT)[0])
            bridge.add_port(boot.veth(router, "p2", pod, "eth0", PORT2, POD)[0])
            boot.address(pod, "eth0", "10.0.1.3/24")
            boot.route(pod, "default via 10.0.1.1")
            know(pod, "eth0", {"10.0.1.1": BRIDGE, "10.0.1.2": CLIENT})
        else:
            boot.veth(router, side, client, "eth0", ROUTER0, CLIENT)
        boot.veth(router, "eth1", server, "eth0", ROUTER1, SERVER, self.mtu)
        for net, device, cidr in (
            (router, side, "10.0.1.1/24"),
            (router, "eth1", "10.0.2.1/24"),
            (client, "eth0", "10.0.1.2/24"),
            (server, "eth0", "10.0.2.2/24"),
        ):
            boot.address(net, device, cidr)
        boot.route(client, "default via 10.0.1.1")
        boot.route(server, "default via 10.0.2.1")
        know(client, "eth0", {"10.0.1.1": self.gateway})
        know(server, "eth0", {"10.0.2.1": ROUTER1})
        know(router, side, {"10.0.1.2": CLIENT, "10.0.1.3": POD, **{f"10.0.1.{20 + n}": CLIENT for n in range(9)}})
        know(router, "eth1", {"10.0.2.2": SERVER})
        for route in self.routes:
            boot.route(router, route)
        if self.rules:
            commands.iptables_restore(
                router, self.rules
            )  # conntrack is there where a rule asks for it, as in the kernel
        return lab


class Case(NamedTuple):
    """Frames that the client sends in one go, and how long their answers take (s; 0: no timer is involved)."""

    setup: str
    label: str
    frames: tuple[bytes, ...]
    wait_s: float = 0


class Recorded(NamedTuple):
    case: Case
    sent: list[str]


def by_setup(cases: list[Case]) -> Iterator[tuple[str, list[Case]]]:
    for name in dict.fromkeys(case.setup for case in cases):
        yield name, [case for case in cases if case.setup == name]


def emulated(setup: Setup, cases: list[Case]) -> Iterator[list[str]]:
    """What the emulator's namespaces send because of each case."""
    lab = setup.build()
    client = lab.namespaces["client"]
    lab.run(1)  # at midnight a time of the day would be 0
    for case in cases:
        before = len(lab.frames())
        now_ms = (EPOCH_NS + lab.clock.now) // MS % DAY_MS
        for data in case.frames:
            client.born += 1
            client.devices["eth0"].transmit(Frame.parse(data, 0, []))
            lab.clock.drain()
        lab.run(case.wait_s)
        seen = [
            (each.place.owner, each.place.device_name, each.data)
            for each in lab.frames()[before:]
            if each.direction == "out"
        ]
        yield lines(seen, now_ms)
        lab.clock.run_until(lab.clock.now + GAP_NS)


def kernel(setup: Setup, cases: list[Case], quiet_s: float = QUIET_S) -> Iterator[list[str]]:
    """What this machine's kernel sends because of each case. An answer ends when nothing came for `quiet_s`."""
    with kernel_lab(setup.build(), quiet_s) as there:
        for case in cases:
            now_ms = time.time_ns() // MS % DAY_MS
            for data in case.frames:
                there.send("client", "eth0", data)
            sent = [(each.space, each.device, each.data) for each in there.take(case.wait_s) if each.way == "out"]
            yield lines(sent, now_ms)


def lines(seen: list[tuple[str, str, bytes]], now_ms: int) -> list[str]:
    """The answer: what was sent, but by the client, on lo and on the bridge itself; each interface in its order."""
    kept = [each for each in seen if (each[0], each[1]) != ("client", "eth0") and each[1] not in ("lo", "br0")]
    return [f"{space}/{device} {words(data, now_ms)}" for space, device, data in sorted(kept, key=lambda e: e[:2])]


def words(data: bytes, now_ms: int) -> str:
    """A frame: Ethernet header, IP header, IP options, what follows."""
    text = [f"{byte:02x}" for byte in data]
    if data[12:14] != b"\x08\0" or len(data) < 34:
        return "".join(text)
    l4 = 14 + (data[14] & 15) * 4
    _header(text, data, 14, now_ms)
    if data[18:20] != b"\0\0":
        text[18:20] = "xx", "xx"
    total = data[16] << 8 | data[17]
    if data[23] == 1 and not (data[20] & 0x1F or data[21]) and len(data) >= l4 + 8:
        if not checksum(data[l4 : 14 + total]) and not data[20] & 0x20:
            text[l4 + 2 : l4 + 4] = "go", "od"
        if data[l4] in (3, 4, 5, 11, 12) and len(data) >= l4 + 28:
            _header(text, data, l4 + 8, now_ms)
        elif data[l4] == 14:
            for at in (l4 + 12, l4 + 16):
                _time(text, data, at, now_ms)
    parts = [(0, 14), (14, 34), (34, l4), (l4, len(text))]
    return " ".join("".join(text[start:stop]) for start, stop in parts if start < stop)


def _header(text: list[str], data: bytes, at: int, now_ms: int) -> None:
    """The header checksum, and times in a timestamp option, of the IP header at `at`."""
    stop = at + (data[at] & 15) * 4
    right = stop <= len(data) and not checksum(data[at:stop])
    if right:
        text[at + 10 : at + 12] = "go", "od"
    place = at + 20
    while place < stop and data[place] != 0:
        size = 1 if data[place] == 1 else data[place + 1] if place + 1 < stop else 0
        if not size or place + size > stop:
            return
        if data[place] == 68:
            for each in range(place + 4, place + size - 3, 4):
                if _time(text, data, each, now_ms) and not right:
                    text[at + 10 : at + 12] = "st", "al"
        place += size


def _time(text: list[str], data: bytes, at: int, now_ms: int) -> bool:
    """Is there a time that is the present?"""
    found = (int.from_bytes(data[at : at + 4], "big") - now_ms) % DAY_MS < NEAR_MS
    if found:
        text[at : at + 4] = "no", "w.", "no", "w."
    return found


def write(setups: Mapping[str, Setup], cases: list[Case]) -> None:
    """Record what this machine's kernel does."""
    rows = []
    for name, group in by_setup(cases):
        for case, sent in zip(group, kernel(setups[name], group), strict=True):
            frames = [frame.hex() for frame in case.frames]
            rows.append({"setup": name, "label": case.label, "wait_s": case.wait_s, "frames": frames, "sent": sent})
    FILE.write_text(json.dumps(rows, indent=1) + "\n")


def read() -> list[Recorded]:
    """The recorded cases."""
    return [
        Recorded(Case(row["setup"], row["label"], tuple(map(bytes.fromhex, row["frames"])), row["wait_s"]), row["sent"])
        for row in json.loads(FILE.read_text())
    ]
