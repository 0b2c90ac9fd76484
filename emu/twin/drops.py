"""The packets that each side dropped, with their reasons, as lines that can be compared.

The kernel's are from its drop monitor, the emulator's from the listeners of its namespaces. Must not know flows, and
must not use emu's own parsers.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from emu.kernel.net.netns import Netns
from emu.trail import Dropped
from emu.twin.compare import Difference, tables
from emu.twin.drop_monitor import DropMonitor, NoMonitor
from emu.twin.space import Space
from emu.wire.addr import ip4_text
from emu.wire.captured import within
from emu.wire.frame import ETH_HLEN, ETH_P_IP, ICMP, Frame
from emu.wire.llc import ETH_P_802_3_MIN
from emu.wire.summary import Summary, read_ip
from emu.wire.vlan import ETH_P_8021Q, TAG_BYTES

# With ports: TCP, UDP, UDP-Lite, SCTP
# A connection that does not take a segment shows that by its answer; the emulator notes no drop
# A datagram for all that no socket takes is freed without a reason (__udp4_lib_mcast_deliver)
_FOR_ALL = re.compile(r"NO_SOCKET \S+>(255\.255\.255\.255|22[4-9]\.|23\d\.)")
_SEGMENT = re.compile(r"TCP_(?!CSUM |FLAGS |LISTEN_OVERFLOW )")
_PORTED = {6: "TCP", 17: "UDP", 132: "SCTP", 136: "UDP-Lite"}
NOT_SPECIFIED, TOO_BIG = "NOT_SPECIFIED ", "PKT_TOO_BIG "
# The twin loses frames by number with nftables, where netem does on a real path
LOST = {"QDISC_DROP": "NETFILTER_DROP"}
# Not compared, by the beginning of a line, each with its reason
ASIDE = {
    NOT_SPECIFIED: "the kernel gives no reason, also where it has used the packet; the emulator may give one",
    "OTHERHOST ": "a flooded copy that is for another host: the emulator absorbs it, and counts no drop",
    "QUEUE_PURGE ": "a program closes a socket (here also: a tool that has read a table), and its queue ends",
    "ICMP_ECHO_IGNORED ": "the emulator's own word: the kernel frees such a request without a reason",
    "UNHANDLED_PROTO 802.3": "the judge's own packet sockets take what no protocol does",
    "UNHANDLED_PROTO ethertype ": "the same; and the kernel marks a tagged frame as another host's where no device takes its VLAN",
    "IPV6DISABLED ": "IPv6 is off on the kernel's side, and the emulator has none",
    "IP_OUTNOROUTES ethertype 0x0000": "a segment that finds no route has no header yet: the emulator makes no packet of it",
    "ARP_PROTO ": "the emulator's own word: the kernel frees such a frame without a reason",
}


# The client's `ping` has a raw socket, which takes a copy; the answer itself finds no ping socket (ping_rcv)
_ECHO_REPLY = re.compile(r"NO_SOCKET .* ICMP 0/\d+$")
_ODD = (_ECHO_REPLY, _FOR_ALL, _SEGMENT)


class _Drop(NamedTuple):
    """A dropped packet: the line that is compared, the device, and when (of the emulator's alone)."""

    line: str
    device: str
    at_ns: int = 0


class Drops:
    """`why_not` is the reason why the kernel's side cannot be watched, "" if it can."""

    def __init__(self) -> None:
        self.why_not = ""
        self._before: dict[Netns, list[_Drop]] = {}
        self._made: dict[tuple[Netns, str], int] = {}  # devices that came later, and when
        self._monitor: DropMonitor | None = None
        self._spaces: dict[int, Netns] = {}
        self._apart: set[int] = set()  # namespaces that are no kernel's business
        self._lost_apart: list[str] = []
        self._theirs: dict[Netns, list[_Drop]] = defaultdict(list)
        self._ours: dict[Netns, list[_Drop]] = defaultdict(list)
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
            ether_type, packet = int.from_bytes(frame.buf[12:14], "big"), bytes(frame.buf[ETH_HLEN:])
            self._ours[net].append(_Drop(_line(reason, _summary(ether_type, packet)), fact.device, net.clock.now))

        net.drop_listeners.append(listener)

    def watch_apart(self, space: Space) -> None:
        """A namespace whose own drops are not compared: what a cable's other end refuses is dropped in it, too."""
        self._apart.add(Path(space.path).stat().st_ino)

    def forget(self, net: Netns) -> None:
        for number in [number for number, each in self._spaces.items() if each is net]:
            del self._spaces[number]
        self._theirs.pop(net, None)
        self._ours.pop(net, None)

    def take(self) -> None:
        """Read what the kernel dropped."""
        for each in self._monitor.take() if self._monitor is not None else ():
            net = self._spaces.get(each.space)
            if net is not None or each.space in self._apart:
                line = _line(each.reason, _summary(each.protocol, each.packet))
                if net is not None:
                    self._theirs[net].append(_Drop(line, each.device))
                else:
                    self._lost_apart.append(line)

    def wired(self, made: Mapping[Netns, Collection[str]], at_ns: int) -> None:
        """These devices have been made, by `at_ns` of the emulator's clock: what they dropped until then is not compared. Nor
        are the frames that they sent."""
        self.take()
        for net, names in made.items():
            # a plugin's device may have had another name then
            known = net.devices.keys() - names
            self._theirs[net] = [each for each in self._theirs[net] if not each.device or each.device in known]
            self._made.update(((net, name), at_ns) for name in names)

    def drop(self) -> None:
        """Ignore all that has been read. What the kernel dropped without a reason still explains what the emulator drops next:
        where it is seen a moment earlier, it is no difference yet."""
        self._before = {
            net: [each for each in drops if each.line.startswith(NOT_SPECIFIED)] for net, drops in self._theirs.items()
        }
        self._theirs.clear()
        self._ours.clear()
        self._lost_apart.clear()

    def differences(self) -> Iterator[Difference]:
        """Of each namespace, since `drop`."""
        self.take()
        if self._monitor is not None:
            every = [each.line for side in (self._before, self._theirs) for drops in side.values() for each in drops]
            lost = Counter(line for line in (*every, *self._lost_apart) if line.startswith(NOT_SPECIFIED))
            for net in self._spaces.values():
                ours = [each.line for each in self._ours[net] if each.at_ns > self._made.get((net, each.device), -1)]
                theirs = [each.line for each in (*self._before.get(net, ()), *self._theirs[net])]
                kernel, emu = _matched(theirs, _without_too_long(ours, lost))
                yield from tables(net.name, {"drops": kernel}, {"drops": emu}, lambda one, other: False)

    def close(self) -> None:
        if self._monitor is not None:
            self._monitor.close()


def _summary(ether_type: int, packet: bytes) -> Summary:
    """Without a VLAN's tag, which the kernel takes off before it looks at a packet."""
    if ether_type == ETH_P_8021Q and len(packet) >= TAG_BYTES:
        ether_type, packet = int.from_bytes(packet[2:TAG_BYTES], "big"), packet[TAG_BYTES:]
    return read_ip(within(packet)) if ether_type == ETH_P_IP else Summary("other", ether_type)


def _without_too_long(ours: list[str], lost: Counter[str]) -> list[str]:
    """The lines without what a veth did not take from its peer for its length: the kernel counts that at the receiver, as the
    emulator does, but the packet is the sender's still, and freed without a reason (____dev_forward_skb)."""
    kept = []
    for line in ours:
        if line.startswith(TOO_BIG) and lost[theirs := line.replace(TOO_BIG, NOT_SPECIFIED, 1)]:
            lost[theirs] -= 1
        else:
            kept.append(line)
    return kept


def _matched(theirs: list[str], ours: list[str]) -> tuple[list[str], list[str]]:
    """The lines to compare. A packet that the kernel drops without a reason may have any in the emulator."""
    unexplained = Counter(line.partition(" ")[2] for line in theirs if line.startswith(NOT_SPECIFIED))
    kernel, emu = _kept(theirs), _kept(ours)
    for line in [line for line in emu if line not in kernel]:
        packet = line.partition(" ")[2]
        if unexplained[packet]:
            unexplained[packet] -= 1
            emu.remove(line)
    return kernel, emu


def _kept(lines: list[str]) -> list[str]:
    return sorted(
        line for line in lines if not line.startswith(tuple(ASIDE)) and not any(each.match(line) for each in _ODD)
    )


def _line(reason: str, seen: Summary) -> str:
    if seen.kind != "IPv4":
        # below it the emulator has a length, and the kernel a number of its own (eth_type_trans)
        return (
            f"{reason} 802.3" if 0 < seen.ethertype < ETH_P_802_3_MIN else f"{reason} ethertype {seen.ethertype:#06x}"
        )
    text = f"{reason} {ip4_text(seen.src)}>{ip4_text(seen.dst)} ttl{seen.ttl}"
    name = _PORTED.get(seen.proto)
    if name and seen.sport | seen.dport:
        return f"{text} {name} {seen.sport}>{seen.dport}"
    return f"{text} ICMP {seen.sport}/{seen.dport}" if seen.proto == ICMP else f"{text} protocol {seen.proto}"
