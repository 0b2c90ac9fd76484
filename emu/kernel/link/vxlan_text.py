"""VXLAN devices and their forwarding entries as `ip link add ... type vxlan` and `bridge fdb` take them.

What the real tools take and emu does not model is refused by name. Must not know namespaces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from emu.errors import InputError
from emu.kernel.link.vxlan import INHERIT, LEARNED, PERMANENT, STATIC, Remote, VxlanConfig
from emu.wire.addr import decimal, ip4, is_multicast
from emu.wire.addr import mac as to_mac
from emu.wire.vxlan import MAX_VNI

Find = Callable[[str], Any]

_SWITCHES = ("learning", "udpcsum", "localbypass")
_STATES = {"permanent": PERMANENT, "local": PERMANENT, "static": STATIC, "dynamic": LEARNED}
DF = ("unset", "set", "inherit")


class Entry(NamedTuple):
    """A line of `bridge fdb`: what to do, to which MAC of which device."""

    verb: str
    mac: bytes
    device: str
    remote: Remote | None
    state: str


class _Words:
    """The words of a line, taken one by one."""

    def __init__(self, text: str, kind: str) -> None:
        self.text, self.kind, self.left = text, kind, text.split()

    def take(self, of: str) -> str:
        if not self.left:
            raise InputError(f"{self.kind} {self.text!r}: {of} has no value")
        return self.left.pop(0)

    def number(self, of: str, most: int) -> int:
        word = self.take(of)
        value = decimal(word)
        if value is None or value > most:
            raise InputError(f"{self.kind} {self.text!r}: {word!r} is no {of}", expected=f"0 to {most}")
        return value

    def address(self, of: str) -> int:
        addr = ip4(self.take(of))
        if not addr or is_multicast(addr):
            raise InputError(f"{self.kind} {self.text!r}: {of} is no host's address", expected="a unicast address")
        return addr


def parse_vxlan(text: str, find: Find) -> VxlanConfig:
    """`id 1 local 10.0.0.1 dev eth0 dstport 8472 nolearning`. Raises InputError."""
    words, given = _Words(text, "vxlan"), dict[str, Any]()
    while words.left:
        word = words.take("")
        switch = word.removeprefix("no")
        if switch in _SWITCHES:
            given[switch] = switch == word
        elif word in ("id", "vni"):
            given["vni"] = words.number("id", MAX_VNI)
        elif word == "dstport":
            given[word] = words.number(word, 65535)
        elif word in ("local", "remote"):
            given[word] = words.address(word)
        elif word == "dev":
            given["lower"] = find(words.take(word))
        elif word == "srcport":
            given["port_min"], given["port_max"] = words.number(word, 65535), words.number(word, 65535)
        elif word == "ageing":
            given["ageing_s"] = words.number(word, (1 << 31) - 1)
        elif word == "ttl" and words.left and words.left[0] in ("inherit", "auto"):
            given["ttl_inherit"] = words.take(word) == "inherit"
        elif word == "ttl":
            given[word] = words.number(word, 255)
        elif word == "tos":
            given[word] = _tos(words)
        elif word == "df" and words.left and words.left[0] in DF:
            given[word] = words.take(word)
        else:
            raise InputError(
                f"vxlan {text!r}: {word!r} is not modelled",
                expected="id, local, remote, dev, dstport, srcport, ttl, tos, df, ageing, [no]learning, [no]udpcsum or [no]localbypass",
            )
    if "vni" not in given:
        raise InputError(f"vxlan {text!r} has no id", expected="id VNI")
    if not given.get("dstport", 1):
        raise InputError(f"vxlan {text!r}: a device needs a port", expected="dstport 1 to 65535")
    return VxlanConfig(**given)


def _tos(words: _Words) -> int:
    word = words.take("tos")
    if word == "inherit":
        return INHERIT
    try:  # as rtnl_dsfield_a2n reads numbers
        value = int(word, 16)
    except ValueError:
        value = -1
    if not 0 <= value <= 255:
        raise InputError(f"vxlan {words.text!r}: {word!r} is no tos", expected="inherit, or a hexadecimal number")
    return value


def parse_fdb(text: str, find: Find) -> Entry:
    """`append 00:00:00:00:00:00 dev vxlan0 dst 10.0.0.2`, the words behind `bridge fdb`. Raises InputError."""
    words = _Words(text, "fdb")
    verb = words.take("fdb")
    if verb not in ("add", "append", "replace", "del"):
        raise InputError(f"fdb {text!r}: {verb!r} is not modelled", expected="add, append, replace or del")
    mac, device, state, fields = to_mac(words.take(verb)), "", PERMANENT, dict[str, Any]()
    while words.left:
        word = words.take("")
        if word == "dev":
            device = words.take(word)
        elif word == "dst":
            fields["addr"] = words.address(word)
        elif word == "port":
            fields[word] = words.number(word, 65535)
        elif word == "vni":
            fields[word] = words.number(word, MAX_VNI)
        elif word == "via":
            fields["device"] = find(words.take(word))
        elif word in _STATES:
            state = _STATES[word]
        elif word != "self":
            raise InputError(f"fdb {text!r}: {word!r} is not modelled", expected="dev, dst, port, vni, via or a state")
    if not device or (verb != "del" and "addr" not in fields):
        raise InputError(f"fdb {text!r} has no {'dst' if device else 'dev'}", expected="MAC dev NAME dst ADDRESS")
    return Entry(verb, mac, device, Remote(**fields) if "addr" in fields else None, state)
