"""The part of a rule that needs no `-m`: addresses, devices, protocol, fragments (ip_packet_match in ip_tables.c).

Unlike the other matches it is always there and not on the shelf: the parser builds it. Each given option
becomes one test; a rule without any has none.
Must not know hooks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Given, Match, Options, Test, Where, unsigned
from emu.wire.addr import ip4, ip4_text, mask
from emu.wire.frame import IP_OFFSET, Frame
from emu.wire.proto import PROTOCOL_NAMES, PROTOCOLS

ALL_ONES = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Address:
    """`-s` or `-d`: an address and a mask (not always a prefix)."""

    addr: int
    mask: int
    negated: bool = False

    def spell(self, option: str) -> str:
        bits = self.mask.bit_count()
        text = str(bits) if mask(bits) == self.mask else ip4_text(self.mask)
        return f"{'! ' if self.negated else ''}{option} {ip4_text(self.addr)}/{text}"


def octets(text: str) -> int:
    """An address as rules have it: one to four octets, each read like any number, and zeros after them, so that 10.1 is
    10.1.0.0 (xtables_numeric_to_ipaddr). Raises InputError."""
    parts = [unsigned(part) for part in text.split(".")]
    if len(parts) > 4 or any(part is None or part > 255 for part in parts):
        return ip4(text)
    return int.from_bytes(bytes(part or 0 for part in parts).ljust(4, b"\0"), "big")


def inet_aton(text: str) -> int:
    """An address as the C library has it: the last of up to four numbers fills what is left, so that 10.1 is 10.0.0.1.
    Raises InputError."""
    parts = [unsigned(part) for part in text.split(".")]
    if len(parts) > 4 or any(part is None or part > 255 for part in parts[:-1]):
        return ip4(text)
    last, places = parts[-1], 5 - len(parts)
    if last is None or last >> 8 * places:
        return ip4(text)
    return int.from_bytes(bytes(part or 0 for part in parts[:-1]) + last.to_bytes(places, "big"), "big")


def _host(text: str) -> int:
    """`octets`, and what it cannot read as the C library does."""
    try:
        return octets(text)
    except InputError:
        return inet_aton(text)


def parse_address(text: str, negated: bool = False, read: Callable[[str], int] = _host) -> Address:
    """`A`, `A/LEN` or `A/MASK`; `read` reads the address. Raises InputError."""
    host, slash, bits = text.partition("/")
    if not slash:
        length = ALL_ONES
    elif (width := unsigned(bits)) is not None:
        if width > 32:
            raise InputError(f"{text!r} is not an address", expected="a prefix length of 0 to 32")
        length = mask(width)
    elif bits.count(".") == 3:
        length = octets(bits)
    else:
        raise InputError(f"{bits!r} is not a netmask", expected="a prefix length of 0 to 32, or four octets")
    return Address(read(host) & length, length, negated)


@dataclass(frozen=True, slots=True)
class Ip(Match):
    """`src`, `dst`: None for any. `indev`, `outdev`: (name, negated), a `+` at the end is a wildcard.

    `proto` 0 is any. `fragment` True is `-f` (second and further fragments), False `! -f`, None either.
    """

    src: Address | None = None
    dst: Address | None = None
    indev: tuple[str, bool] | None = None
    outdev: tuple[str, bool] | None = None
    proto: int = 0
    proto_negated: bool = False
    fragment: bool | None = None

    def matches(self, frame: Frame, state: HookState) -> bool:
        return all(test(frame, state) for test in self.tests())

    def by_state(self) -> bool:
        return not self.tests()

    def tests(self) -> tuple[Test, ...]:
        tests: list[Test] = []
        if self.dst is not None:
            tests.append(_dst_test(self.dst))
        if self.proto:
            tests.append(_proto_test(self.proto, self.proto_negated))
        if self.src is not None:
            tests.append(_src_test(self.src))
        if self.indev is not None:
            tests.append(_device_test("indev", *self.indev))
        if self.outdev is not None:
            tests.append(_device_test("outdev", *self.outdev))
        if self.fragment is not None:
            wanted = self.fragment
            tests.append(lambda frame, state: bool(frame.frag & IP_OFFSET) is wanted)
        return tuple(tests)

    def spec(self) -> str:
        words = []
        if self.src is not None:
            words.append(self.src.spell("-s"))
        if self.dst is not None:
            words.append(self.dst.spell("-d"))
        for option, device in (("-i", self.indev), ("-o", self.outdev)):
            if device is not None:
                words.append(f"{'! ' if device[1] else ''}{option} {device[0]}")
        if self.proto:
            words.append(f"{'! ' if self.proto_negated else ''}-p {PROTOCOL_NAMES.get(self.proto, self.proto)}")
        if self.fragment is not None:
            words.append("-f" if self.fragment else "! -f")
        return " ".join(words)


def _dst_test(want: Address) -> Test:
    addr, bits = want.addr, want.mask
    if want.negated:
        return lambda frame, state: frame.dst & bits != addr
    if bits == ALL_ONES:
        return lambda frame, state: frame.dst == addr
    return lambda frame, state: frame.dst & bits == addr


def _src_test(want: Address) -> Test:
    addr, bits = want.addr, want.mask
    if want.negated:
        return lambda frame, state: frame.src & bits != addr
    if bits == ALL_ONES:
        return lambda frame, state: frame.src == addr
    return lambda frame, state: frame.src & bits == addr


def _proto_test(proto: int, negated: bool) -> Test:
    if negated:
        return lambda frame, state: frame.proto != proto
    return lambda frame, state: frame.proto == proto


def name_fits(pattern: str, name: str) -> bool:
    """A device name against `-i`'s pattern: `eth+` fits whatever begins with eth."""
    return name.startswith(pattern[:-1]) if pattern.endswith("+") else name == pattern


def _device_test(which: str, pattern: str, negated: bool) -> Test:
    """No device (NULL in the kernel) has the empty name."""
    if which == "indev":

        def test_in(frame: Frame, state: HookState) -> bool:
            device = frame.indev
            return name_fits(pattern, "" if device is None else device.name) is not negated

        return test_in

    def test_out(frame: Frame, state: HookState) -> bool:
        device = frame.outdev
        return name_fits(pattern, "" if device is None else device.name) is not negated

    return test_out


OPTIONS = {"-s": 1, "-d": 1, "-i": 1, "-o": 1, "-p": 1, "-f": 0}
ALIASES = {
    "--source": "-s", "--src": "-s", "--destination": "-d", "--dst": "-d", "--in-interface": "-i",
    "--out-interface": "-o", "--protocol": "-p", "--proto": "-p", "--fragment": "-f",
}  # fmt: skip

_NO_OUT, _NO_IN = ("PREROUTING", "INPUT"), ("OUTPUT", "POSTROUTING")


def protocol(text: str) -> int:
    """A protocol's number from its name or number; `all` is 0. Raises InputError."""
    if text.lower() in PROTOCOLS:
        return PROTOCOLS[text.lower()]
    number = unsigned(text)
    if number is not None and number <= 255:
        return number
    raise InputError(f"unknown protocol {text!r}", expected="a number from 0 to 255, or " + ", ".join(PROTOCOLS))


def build(given: Options, where: Where) -> Ip:
    """The basics of a rule. Raises InputError."""
    proto = given.get("-p")
    number = protocol(proto.words[0]) if proto else 0
    if proto and proto.negated and not number:
        raise InputError("the rule would never match: ! -p all", expected="a protocol")
    fragment = given.get("-f")
    return Ip(
        src=_address(given.get("-s")),
        dst=_address(given.get("-d")),
        indev=_device(given.get("-i"), where.chain, _NO_IN),
        outdev=_device(given.get("-o"), where.chain, _NO_OUT),
        proto=number,
        proto_negated=proto.negated if proto else False,
        fragment=None if fragment is None else not fragment.negated,
    )


def _address(given: Given | None) -> Address | None:
    if given is None:
        return None
    address = parse_address(given.words[0], given.negated)
    if address.mask:
        return address
    if given.negated:
        raise InputError(f"the rule would never match: ! {given.name} {given.words[0]}", expected="a longer prefix")
    return None


def _device(given: Given | None, chain: str, never_in: tuple[str, ...]) -> tuple[str, bool] | None:
    if given is None:
        return None
    if chain in never_in:
        raise InputError(f"{given.name} cannot be used in {chain}", expected=f"none of {', '.join(never_in)}")
    name = given.words[0]
    if not 0 < len(name) < 16:
        raise InputError(f"{name!r} is not a device name", expected="1 to 15 characters")
    return None if name == "+" and not given.negated else (name, given.negated)
