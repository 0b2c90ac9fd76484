"""The one door to Scapy: templates out for the emulator, packets in from people, frames dissected for people.

Each kind of frame that the emulator originates is composed here once, as a Scapy packet with every
address set; its bytes are the template that `wire/` stamps instances from. Scapy is imported when
the first frame is born (it costs 0.3 s), and never asks this host for routes or addresses.
Must not know devices or namespaces.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from emu.errors import InputError
from emu.wire.addr import ip4_text

if TYPE_CHECKING:
    from scapy.packet import Packet

ZERO, NOBODY, EVERYBODY = "00:00:00:00:00:00", "0.0.0.0", "ff:ff:ff:ff:ff:ff"


def _ether_ip(payload: Packet, flags: str = "DF") -> Packet:
    from scapy.layers.inet import IP
    from scapy.layers.l2 import Ether

    return Ether(dst=ZERO, src=ZERO, type=0x0800) / IP(src=NOBODY, dst=NOBODY, id=0, flags=flags, ttl=64) / payload


def _arp(op: int, dst: str) -> Packet:
    from scapy.layers.l2 import ARP, Ether

    return Ether(dst=dst, src=ZERO, type=0x0806) / ARP(op=op, hwsrc=ZERO, psrc=NOBODY, hwdst=ZERO, pdst=NOBODY)


def _arp_request() -> Packet:
    return _arp(1, EVERYBODY)


def _arp_reply() -> Packet:
    return _arp(2, ZERO)


def _udp() -> Packet:
    from scapy.layers.inet import UDP

    return _ether_ip(UDP(sport=0, dport=0, chksum=0))


def _tcp() -> Packet:
    from scapy.layers.inet import TCP

    return _ether_ip(TCP(sport=0, dport=0, flags="A", window=0, chksum=0))


def _echo_request() -> Packet:
    from scapy.layers.inet import ICMP

    return _ether_ip(ICMP(type="echo-request", id=0, seq=0, chksum=0))


def _echo_reply() -> Packet:
    from scapy.layers.inet import ICMP

    return _ether_ip(ICMP(type="echo-reply", id=0, seq=0, chksum=0), flags="")


def _icmp_error() -> Packet:
    from scapy.layers.inet import ICMP

    return _ether_ip(ICMP(type="dest-unreach", code=3, unused=0, chksum=0), flags="")


TEMPLATES: dict[str, Callable[[], Any]] = {
    "arp_request": _arp_request,
    "arp_reply": _arp_reply,
    "udp": _udp,
    "tcp": _tcp,
    "echo_request": _echo_request,
    "echo_reply": _echo_reply,
    "icmp_error": _icmp_error,
}


@cache
def template(kind: str) -> bytes:
    """The bytes of one kind of frame, Ethernet header first, all addresses zero. Kinds: `TEMPLATES`."""
    return bytes(TEMPLATES[kind]())


@cache
def _layers() -> dict[str, Any]:
    """The Scapy layers a user's expression may name."""
    from scapy.layers import dhcp, dns, inet, l2, ntp, sctp, vxlan
    from scapy.packet import Packet, Padding, Raw

    found: dict[str, Any] = {"Raw": Raw, "Padding": Padding}
    for module in (l2, inet, dns, dhcp, vxlan, ntp, sctp):
        layers = {n: v for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Packet)}
        found.update(layers)
    return found


def expression(text: str) -> Any:
    """A Scapy packet from `IP(dst='10.96.0.10')/UDP(dport=53)/'payload'`, parsed and never evaluated.

    Allowed: layer names, keyword arguments that are literals or layers, strings or bytes as payload, and `/`.
    Raises InputError.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise InputError(
            f"cannot read the Scapy expression {text!r}: {error.msg}", expected="IP(dst='..')/UDP(dport=..)"
        ) from None
    return _build(tree.body, text)


def _build(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _build(node.left, text) / _build(node.right, text)
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
        return _layers()["Raw"](node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
        layer = _layers().get(node.func.id)
        if layer is None:
            raise InputError(f"Scapy has no layer {node.func.id!r} here", expected="Ether, ARP, IP, ICMP, UDP, TCP ...")
        names = {field.name for field in layer.fields_desc}
        fields: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg not in names:
                raise InputError(f"{node.func.id} has no field {keyword.arg!r}", expected=", ".join(sorted(names)))
            try:
                value = ast.literal_eval(keyword.value)
            except ValueError:
                value = _build(keyword.value, text)
            fields[str(keyword.arg)] = value
        try:
            packet = layer(**fields)
            bytes(_addressed(packet.copy()))
        except Exception as error:  # Scapy raises whatever its fields' packing raises
            raise InputError(f"Scapy cannot build {ast.unparse(node)}: {error}") from None
        return packet
    raise InputError(
        f"{ast.unparse(node)!r} is not allowed in a Scapy expression",
        expected="layers with keyword literals, joined by /",
    )


def _addressed(packet: Any, source: str = NOBODY, mac: str = ZERO) -> Any:
    """Fill in every address that Scapy would ask this host for."""
    layers = _layers()
    for kind, fields in (("IP", {"src": source, "dst": NOBODY}), ("Ether", {"src": mac, "dst": ZERO})):
        layer = packet.getlayer(layers[kind])
        while layer is not None:
            for name, value in fields.items():
                if name not in layer.fields:
                    setattr(layer, name, value)
            layer = layer.payload.getlayer(layers[kind])
    layer = packet.getlayer(layers["ARP"])
    if layer is not None:
        for name, value in (("psrc", source), ("hwsrc", mac), ("hwdst", ZERO), ("pdst", NOBODY)):
            if name not in layer.fields:
                setattr(layer, name, value)
    return packet


def is_layer2(packet: Any) -> bool:
    """Does the packet bring its own Ethernet header?"""
    return isinstance(packet, _layers()["Ether"])


def destination(packet: Any) -> str | None:
    """The IPv4 destination a user's packet names, None without one."""
    layer = packet.getlayer(_layers()["IP"])
    return None if layer is None or "dst" not in layer.fields else str(layer.fields["dst"])


def source(packet: Any) -> str | None:
    """The IPv4 source a user's packet names, None without one."""
    layer = packet.getlayer(_layers()["IP"])
    return None if layer is None or "src" not in layer.fields else str(layer.fields["src"])


def build(packet: Any, source: int, mac: bytes, ttl: int = 64) -> bytes:
    """A user's packet as a whole Ethernet frame: what it leaves out is filled by the emulated namespace.

    `source` is the address its route chose, `mac` that of the device it leaves by.
    """
    layers = _layers()
    packet = packet.copy()
    if not is_layer2(packet):
        ethertype = 0x0806 if isinstance(packet, layers["ARP"]) else 0x0800
        packet = (
            layers["Ether"](dst=EVERYBODY if ethertype == 0x0806 else ZERO, src=mac.hex(":"), type=ethertype) / packet
        )
    layer = packet.getlayer(layers["IP"])
    if layer is not None and "ttl" not in layer.fields:
        layer.ttl = ttl
    return bytes(_addressed(packet, ip4_text(source), mac.hex(":")))


def dissect(data: bytes) -> Packet:
    """The Scapy packet of a frame's bytes."""
    packet: Packet = _layers()["Ether"](data)
    return packet
