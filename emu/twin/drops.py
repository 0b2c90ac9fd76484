"""The packets that each side dropped, with their reasons, as lines that can be compared.

The kernel's are from its drop monitor, the emulator's from the listeners of its namespaces. Must not know flows, and
must not use emu's own parsers.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from emu.kernel.net.netns import Netns
from emu.trail import Dropped
from emu.twin.compare import Difference, tables
from emu.twin.drop_monitor import DropMonitor, NoMonitor
from emu.twin.normalise import address
from emu.twin.space import Space
from emu.wire.frame import ETH_P_IP, Frame

# With ports: TCP, UDP, UDP-Lite, SCTP
# A connection that does not take a segment shows that by its answer; the emulator notes no drop
_SEGMENT = re.compile(r"TCP_(?!CSUM |FLAGS |LISTEN_OVERFLOW )")
_ICMP = 1
_PORTED = {6: "TCP", 17: "UDP", 132: "SCTP", 136: "UDP-Lite"}
# The twin loses frames by number with nftables, where netem does on a real path
LOST = {"QDISC_DROP": "NETFILTER_DROP"}
# Not compared, by the beginning of a line, each with its reason
ASIDE = {
    "NOT_SPECIFIED ": "the kernel gives no reason, also where it has used the packet",
    "OTHERHOST ": "a flooded copy that is for another host: the emulator absorbs it, and counts no drop",
    "QUEUE_PURGE ": "a program closes a socket (here also: a tool that has read a table), and its queue ends",
    "ICMP_ECHO_IGNORED ": "the emulator's own word: the kernel frees such a request without a reason",
    "UNHANDLED_PROTO ethertype 0x8100": "the kernel marks a tagged frame as another host's where no device takes its VLAN",
    "ARP_PROTO ": "the emulator's own word: the kernel frees such a frame without a reason",
}


# The client's `ping` has a raw socket, which takes a copy; the answer itself finds no ping socket (ping_rcv)
_ECHO_REPLY = re.compile(r"NO_SOCKET .* ICMP 0/0$")


class Drops:
    """`why_not` is the reason why the kernel's side cannot be watched, "" if it can."""

    def __init__(self) -> None:
        self.why_not = ""
        self._monitor: DropMonitor | None = None
        self._spaces: dict[int, Netns] = {}
        self._theirs: dict[Netns, list[str]] = defaultdict(list)
        self._ours: dict[Netns, list[str]] = defaultdict(list)
        try:
            self._monitor = DropMonitor()
        except NoMonitor as reason:
            self.why_not = str(reason)

    def watch(self, net: Netns, space: Space) -> None:
        """A namespace was made on the kernel's side."""
        self._spaces[Path(space.path).stat().st_ino] = net

        def listener(frame: Frame, fact: Dropped) -> None:
            device = net.devices.get(fact.device)
            lossy = device is not None and device.netem is not None
            reason = LOST.get(fact.reason, fact.reason) if lossy else fact.reason
            self._ours[net].append(_line(reason, int.from_bytes(frame.buf[12:14]), bytes(frame.buf[14:])))

        net.drop_listeners.append(listener)

    def forget(self, net: Netns) -> None:
        for number in [number for number, each in self._spaces.items() if each is net]:
            del self._spaces[number]
        self._theirs.pop(net, None)
        self._ours.pop(net, None)

    def take(self) -> None:
        """Read what the kernel dropped."""
        for each in self._monitor.take() if self._monitor is not None else ():
            net = self._spaces.get(each.space)
            if net is not None:
                self._theirs[net].append(_line(each.reason, each.protocol, each.packet))

    def drop(self) -> None:
        """Ignore all that has been read."""
        self._theirs.clear()
        self._ours.clear()

    def differences(self) -> Iterator[Difference]:
        """Of each namespace, since `drop`."""
        self.take()
        if self._monitor is not None:
            for net in self._spaces.values():
                kernel, emu = _kept(self._theirs[net]), _kept(self._ours[net])
                yield from tables(net.name, {"drops": kernel}, {"drops": emu}, lambda one, other: False)

    def close(self) -> None:
        if self._monitor is not None:
            self._monitor.close()


def _kept(lines: list[str]) -> list[str]:
    return sorted(
        line for line in lines if not (line.startswith(tuple(ASIDE)) or _ECHO_REPLY.match(line) or _SEGMENT.match(line))
    )


def _line(reason: str, ether_type: int, packet: bytes) -> str:
    if ether_type != ETH_P_IP or len(packet) < 20:
        return f"{reason} ethertype {ether_type:#06x}"
    header, protocol = (packet[0] & 15) * 4, packet[9]
    text = f"{reason} {address(packet[12:16])}>{address(packet[16:20])} ttl{packet[8]}"
    first = int.from_bytes(packet[6:8]) & 0x1FFF == 0
    if protocol in _PORTED and first and len(packet) >= header + 4:
        ports = int.from_bytes(packet[header : header + 2]), int.from_bytes(packet[header + 2 : header + 4])
        return f"{text} {_PORTED[protocol]} {ports[0]}>{ports[1]}"
    if protocol == _ICMP and first and len(packet) > header:
        return f"{text} ICMP {packet[header]}/{packet[header + 1]}"
    return f"{text} protocol {protocol}"
