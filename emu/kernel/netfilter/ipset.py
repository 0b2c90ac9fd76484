"""Sets of addresses, ports and names that `-m set` and `-j SET` look up (net/netfilter/ipset/ip_set_hash_gen.h).

A set's type gives the parts of an element (`hash:ip,port`: an address and a port); a rule's flags give for each part
whether it is the packet's source or destination. The most specific net decides, `nomatch` elements included. Text of
`ipset save` is read in ipset_text.py. Must not know rules or who walks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from emu.kernel.netfilter.matches.ip import ALL_ONES, name_fits
from emu.wire.addr import ip4_text, mac_text, mask
from emu.wire.frame import ICMP, IP_OFFSET, SCTP, TCP, UDP, Frame
from emu.wire.proto import PROTOCOL_NAMES, UDPLITE

# what an element of each type is made of; `list` holds the names of other sets
TYPES: dict[str, tuple[str, ...]] = {
    "hash:ip": ("ip",), "hash:net": ("net",), "hash:mac": ("mac",), "hash:ip,mark": ("ip", "mark"),
    "hash:ip,mac": ("ip", "mac"), "hash:net,net": ("net", "net"), "hash:ip,port": ("ip", "port"),
    "hash:net,port": ("net", "port"), "hash:ip,port,ip": ("ip", "port", "ip"),
    "hash:ip,port,net": ("ip", "port", "net"), "hash:net,port,net": ("net", "port", "net"),
    "hash:net,iface": ("net", "iface"), "bitmap:ip": ("ip",), "bitmap:ip,mac": ("ip", "mac"),
    "bitmap:port": ("portnumber",), "list:set": ("set",),
}  # fmt: skip
WITH_PORTS = (TCP, UDP, SCTP, UDPLITE)
NEVER_ZERO = ("hash:ip", "hash:ip,port")  # 0.0.0.0 is no element of these

Key = tuple[Any, ...]


@dataclass(slots=True)
class Element:
    """One element: `expires_ns` 0 is never. `text` is what `ipset save` shows of it. `mac`: of a bitmap:ip,mac, None until a
    packet brings one."""

    text: str
    nomatch: bool = False
    expires_ns: int = 0
    mac: bytes | None = None


@dataclass(slots=True)
class IpSet:
    """A set. `timeout_s` None: its elements have no timeouts; else the default (0: for ever). `options` as saved.

    `mask` is what is left of an address (netmask or bitmask), `markmask` of a mark. `first` and `last`: the range of a
    bitmap. `maxelem`: as many elements as it takes (None: any). `levels` are the combinations of prefix lengths in use, most specific first; keys are looked up level by level.
    """

    name: str
    kind: str
    options: tuple[str, ...] = ()
    timeout_s: int | None = None
    mask: int = ALL_ONES
    markmask: int = ALL_ONES
    first: int = 0
    last: int = ALL_ONES
    maxelem: int | None = None
    elements: dict[Key, Element] = field(default_factory=dict)
    levels: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def parts(self) -> tuple[str, ...]:
        return TYPES[self.kind]

    @property
    def dimension(self) -> int:
        return len(self.parts)

    def put(self, key: Key, lengths: tuple[int, ...], element: Element) -> None:
        """Add or replace an element."""
        self.elements[key] = element
        if lengths not in self.levels:
            self.levels.append(lengths)
            self.levels.sort(reverse=True)

    def find(self, values: Sequence[Any], now_ns: int) -> Element | None:
        """The element that decides about a packet's values (one for each part), most specific nets first."""
        nets = [place for place, part in enumerate(self.parts) if part in ("net", "ip")]
        for lengths in self.levels:
            key = list(values)
            for place, length in zip(nets, lengths, strict=True):
                key[place] = values[place] & mask(length), length
            if self.kind == "hash:net,iface":
                found, last = self._device(key)
                if last:  # the net is there with other devices: wider nets are not asked
                    return None
            elif self.kind == "bitmap:ip,mac":
                found = self._with_mac(key)
            else:
                found = self.elements.get(tuple(key))
            if found is not None and not 0 < found.expires_ns <= now_ns:
                return found
        return None

    def _with_mac(self, key: list[Any]) -> Element | None:
        """bitmap:ip,mac: an address that was added without a MAC takes the one of the first packet."""
        addr, mac = key
        element = self.elements.get((addr,))
        if element is None or mac is None or element.mac == mac:
            return element
        if element.mac is not None:
            return None
        element.mac = mac
        element.text += f",{mac_text(mac)}"
        return element

    def _device(self, key: list[Any]) -> tuple[Element | None, bool]:
        """hash:net,iface: the device by its own name, or by a wildcard that begins it; and whether the net is there, but with
        other devices only."""
        net, names = key
        others = False
        for physical, name in names:
            exact = self.elements.get((net, (physical, name)))
            if exact is not None:
                return exact, False
            for (other, device), element in self.elements.items():
                kind, pattern = device
                if other == net and kind == physical:
                    if pattern.endswith("+") and name_fits(pattern, name):
                        return element, False
                    others = True
        return None, others


class IpSets(dict[str, IpSet]):
    """The sets of one namespace, by name."""

    def test(self, name: str, frame: Frame, flags: Sequence[str], now_ns: int) -> tuple[bool, bool]:
        """ip_set_test: whether the packet is in the set, and whether a `nomatch` element took it out.

        Raises KeyError when there is no such set.
        """
        found = self[name]
        if found.kind == "list:set":
            for (member,), element in found.elements.items():
                if element.expires_ns and element.expires_ns <= now_ns:
                    continue
                hit = self.test(member, frame, flags, now_ns)
                if hit != (False, False):
                    return hit
            return False, False
        values = values_of(found, frame, flags)
        decisive = None if values is None else found.find(values, now_ns)
        if decisive is None:
            return False, False
        return (False, True) if decisive.nomatch else (True, False)

    def save(self) -> str:
        """The text of `ipset save`: sets in their order, lists after what they hold."""
        lines = []
        for each in self.values():
            lines.append(" ".join(["create", each.name, each.kind, *each.options]))
            lines += [f"add {each.name} {element.text}" for element in each.elements.values()]
        return "".join(f"{line}\n" for line in lines)


def values_of(wanted: IpSet, frame: Frame, flags: Sequence[str]) -> list[Any] | None:
    """What the packet shows a set: for each part the value on the side that its flag names. None: the packet (or the
    rule) has no such value, and is in no set of the type."""
    if len(flags) < wanted.dimension:
        return None
    values: list[Any] = []
    for part, side in zip(wanted.parts, flags, strict=False):
        src = side == "src"
        if part in ("ip", "net"):
            addr = frame.src if src else frame.dst
            if wanted.kind.startswith("bitmap") and not wanted.first <= addr <= wanted.last:
                return None
            addr &= wanted.mask
            if not addr and wanted.kind in NEVER_ZERO:
                return None
            values.append(addr)
        elif part in ("port", "portnumber"):
            seen = _port_of(frame, src)
            if seen is None or (part == "portnumber" and not wanted.first <= seen[1] <= wanted.last):
                return None
            values.append(seen if part == "port" else seen[1])
        elif part == "mac":
            address = frame.smac if src else frame.dmac
            if address == bytes(6):
                return None
            values.append(address)
        elif part == "mark":
            values.append(frame.mark & wanted.markmask)
        else:
            device, port_device = (frame.indev, frame.physin) if src else (frame.outdev, frame.physout)
            names = [(False, device.name)] if device is not None else []
            if port_device is not None:
                names.append((True, port_device.name))
            if not names:
                return None
            values.append(tuple(names))
    return values


def _port_of(frame: Frame, src: bool) -> tuple[int, int] | None:
    """ip_set_get_ip4_port: (protocol, port); ICMP shows type and code, other protocols port 0."""
    if frame.frag & IP_OFFSET:
        return None
    if frame.proto in WITH_PORTS:
        return frame.proto, frame.sport if src else frame.dport
    if frame.proto == ICMP:
        return ICMP, frame.dport
    return (frame.proto, 0) if frame.proto >= 0 else None


def element_text(found: IpSet, values: Sequence[Any]) -> str:
    """A packet's values as `ipset add` takes them: what `-j SET` adds."""
    words = []
    for part, value in zip(found.parts, values, strict=False):
        if part in ("ip", "net"):
            words.append(ip4_text(value))
        elif part == "port":
            proto, seen = value
            number_text = f"{seen >> 8}/{seen & 255}" if proto == ICMP else str(seen)
            words.append(f"{PROTOCOL_NAMES.get(proto, proto)}:{number_text}")
        elif part == "mac":
            words.append(mac_text(value))
        elif part == "iface":
            words.append(str(value[0][1]))
        else:
            words.append(str(value))
    return ",".join(words)
