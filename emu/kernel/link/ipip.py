"""An IPIP device: what is sent there travels as the payload of another IPv4 packet (net/ipv4/ipip.c, RFC 2003).

It has no link layer: no MAC, no neighbours. `tunl0` is the namespace's own, without addresses: it takes what no other tunnel
does. How a packet is carried is injected (`Carrier`). Must not know routes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel.link.device import OUT, Device
from emu.wire.addr import decimal, ip4, ip4_text, is_multicast
from emu.wire.frame import IP_HLEN, Frame

FALLBACK = "tunl0"
INHERIT = 1  # as a TOS: the inner packet's
MIN_MTU, MAX_MTU, ETHERNET_MTU = 68, 65535 - IP_HLEN, 1500
_SWITCHES = {"pmtudisc": ("pmtudisc", True), "nopmtudisc": ("pmtudisc", False)}
_SWITCHES |= {"ignore-df": ("ignore_df", True), "noignore-df": ("ignore_df", False)}


@dataclass(frozen=True, slots=True)
class IpipConfig:
    """`ip link add ... type ipip`. Addresses are ints, 0 for any. `ttl` 0 and `tos` 1: the inner packet's. `pmtudisc`: the outer
    packet has DF always, else where the inner has it (never with `ignore_df`)."""

    local: int = 0
    remote: int = 0
    lower: Device | None = None
    ttl: int = 0
    tos: int = 0
    pmtudisc: bool = True
    ignore_df: bool = False

    def text(self) -> str:
        """The words behind `type ipip`, which make the same device."""
        words = [f"local {ip4_text(self.local)}" if self.local else "local any"]
        words += [f"remote {ip4_text(self.remote)}" if self.remote else "remote any"]
        words += [f"dev {self.lower.name}"] if self.lower is not None else []
        words += [f"ttl {self.ttl or 'inherit'}"]
        words += ["tos inherit"] if self.tos == INHERIT else [f"tos {self.tos:#x}"] if self.tos else []
        words += [] if self.pmtudisc else ["nopmtudisc"]
        words += ["ignore-df"] if self.ignore_df else []
        return " ".join(words)


class Carrier(Protocol):
    """What carries the packets of the IPIP devices of one namespace."""

    def xmit(self, device: Ipip, frame: Frame) -> None: ...


class Ipip(Device):
    """An IPIP device. Its MTU is by default 20 bytes less than that of the device that it is bound to (`dev`), 1480 without
    one. `failures` counts the ICMP errors of late that came back, `failed_ns` is the last one's time."""

    __slots__ = ("carrier_of", "config", "failed_ns", "failures")

    def __init__(self, clock: Clock, name: str, config: IpipConfig, mtu: int | None = None) -> None:
        lower = ETHERNET_MTU if config.lower is None else config.lower.mtu
        super().__init__(clock, name, mtu=max(lower - IP_HLEN, MIN_MTU) if mtu is None else mtu, kind="ipip")
        self.config = config
        self.noarp = True
        self.carrier_of: Carrier | None = None
        self.failures = self.failed_ns = 0

    def set_mtu(self, mtu: int) -> None:
        """ip_tunnel_change_mtu. Raises InputError."""
        if not MIN_MTU <= mtu <= MAX_MTU:
            raise InputError(f"{self.name} cannot have an MTU of {mtu}", expected=f"{MIN_MTU} to {MAX_MTU} bytes")
        super().set_mtu(mtu)

    def xmit(self, frame: Frame) -> None:
        """ipip_tunnel_xmit. The device computes no checksum and cuts nothing."""
        if frame.partial:
            self.without_offload(frame)
            return
        tap = self.tap
        if tap is not None:
            tap(frame, OUT)
        if self.carrier_of is not None:
            self.carrier_of.xmit(self, frame)


def parse_ipip(text: str, find: Callable[[str], Device]) -> IpipConfig:
    """`local 10.0.0.1 remote 10.0.0.2 ttl 64 nopmtudisc`; `find(name)` gives the device of `dev`. Raises InputError."""
    words, given = text.split(), dict[str, Any]()
    while words:
        word = words.pop(0)
        if word in _SWITCHES:
            key, given_value = _SWITCHES[word]
            given[key] = given_value
            continue
        if word not in ("local", "remote", "dev", "ttl", "tos") or not words:
            expected = "local, remote, dev, ttl, tos, [no]pmtudisc or [no]ignore-df, each with its value"
            raise InputError(f"ipip {text!r}: cannot read {word!r}", expected=expected)
        value = words.pop(0)
        if word == "dev":
            given["lower"] = find(value)
        elif word in ("local", "remote"):
            given[word] = _address(value, text)
        elif value == "inherit":
            given[word] = INHERIT if word == "tos" else 0
        else:
            given[word] = _number(value, word, text)
    return IpipConfig(**given)


def _address(word: str, text: str) -> int:
    addr = 0 if word == "any" else ip4(word)
    if is_multicast(addr):
        raise InputError(f"ipip {text!r}: {word} is no host's address", expected="a unicast address, or any")
    return addr


def _number(word: str, of: str, text: str) -> int:
    value = int(word, 16) if of == "tos" and word.startswith("0x") else decimal(word)
    if value is None or not 0 <= value <= 255:
        raise InputError(f"ipip {text!r}: {word!r} is no {of}", expected="inherit, or 0 to 255")
    return value
