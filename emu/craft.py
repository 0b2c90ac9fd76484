"""The one door to Scapy: templates out for the emulator, packets in from people, frames dissected for people.

Each kind of frame that the emulator originates is composed here once, as a Scapy packet with every
address set; its bytes are the template that `wire/` stamps instances from. Scapy is imported when
the first frame is born (it costs 0.3 s), and never asks this host for routes or addresses.
Must not know devices or namespaces.
"""

from __future__ import annotations

import ast
from bisect import bisect_right
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from emu.errors import InputError
from emu.wire.addr import ip4_text
from emu.wire.dns import RCODES, Answer, Message, Question, Record, type_name, type_number

if TYPE_CHECKING:
    from scapy.packet import Packet

MAX_SHOWN = 200  # characters of an expression that an error shows
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
        return _build(ast.parse(text.strip(), mode="eval").body, text)
    except SyntaxError as error:
        why = error.msg
    except (RecursionError, MemoryError):
        why = "it is nested too deeply"
    shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
    raise InputError(f"cannot read the Scapy expression {shown!r}: {why}", expected="IP(dst='..')/UDP(dport=..)")


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


# -- DNS ---------------------------------------------------------------------------------------


def dns_query(question: Question, ident: int) -> bytes:
    """The bytes of a query as a stub resolver sends it: recursion desired, no EDNS."""
    return _dns_bytes(Message(ident, question))


def dns_answer(query: Message, answer: Answer, limit: int = 65535) -> bytes:
    """The bytes of a server's answer, at most `limit`: with compressed names where they do not fit in full, and with
    records left out at the end and TC set where even that is too long (RFC 2181 section 9)."""
    message = Message(
        query.ident, query.question, True, answer.rcode, answer.answers, answer.authorities, answer.extras,
        authoritative=answer.authoritative, recursion_desired=query.recursion_desired,
        recursion_available=not answer.authoritative,
    )  # fmt: skip
    data = _dns_bytes(message)
    if len(data) > limit:
        data = _dns_bytes(message, compress=True)
    if len(data) <= limit:
        return data

    def first(count: int) -> bytes:
        rest, kept = count, []
        for section in (answer.answers, answer.authorities, answer.extras):
            kept.append(section[:rest])
            rest -= len(kept[-1])
        cut = message._replace(answers=kept[0], authorities=kept[1], extras=kept[2], truncated=True)
        return _dns_bytes(cut, compress=True)

    total = len(answer.answers) + len(answer.authorities) + len(answer.extras)
    return first(bisect_right(range(1, total), limit, key=lambda count: len(first(count))))


def dns_parse(data: bytes) -> Message:
    """A DNS message's bytes read. Raises InputError for bytes that are none."""
    from scapy.layers.dns import DNS

    try:
        packet = DNS(data)
        flags = packet.qr, packet.aa, packet.tc, packet.rd, packet.ra
        questions = list(packet.qd or ())
        sections = [tuple(_dns_record(each) for each in part or ()) for part in (packet.an, packet.ns, packet.ar)]
        asked = questions[0] if questions else None
        question = None if asked is None else Question(_text(asked.qname), type_name(asked.qtype))
    except Exception as error:  # Scapy raises whatever its fields' unpacking raises
        raise InputError(f"no DNS message: {error}") from None
    if len(data) < 12:
        raise InputError("no DNS message: shorter than its header")
    response, authoritative, truncated, desired, available = (bool(flag) for flag in flags)
    rcode = RCODES[packet.rcode] if packet.rcode < len(RCODES) else f"RCODE{packet.rcode}"
    return Message(
        packet.id, question, response, rcode, sections[0], sections[1], sections[2], authoritative, truncated,
        desired, available,
    )  # fmt: skip


def _dns_bytes(message: Message, *, compress: bool = False) -> bytes:
    from scapy.layers.dns import DNS, DNSQR

    asked = message.question
    packet = DNS(
        id=message.ident, qr=message.response, aa=message.authoritative, tc=message.truncated,
        rd=message.recursion_desired, ra=message.recursion_available, rcode=RCODES.index(message.rcode),
        qd=[] if asked is None else [DNSQR(qname=asked.name, qtype=type_number(asked.kind))],
        an=[_dns_layer(each) for each in message.answers], ns=[_dns_layer(each) for each in message.authorities],
        ar=[_dns_layer(each) for each in message.extras],
    )  # fmt: skip
    return bytes(packet.compress() if compress else packet)


def _dns_layer(record: Record) -> Any:
    from scapy.layers.dns import DNSRR, DNSRRSOA, DNSRRSRV

    words = record.data.split()
    common = {"rrname": record.name, "ttl": record.ttl, "rclass": 1}
    if record.kind == "SRV":
        priority, weight, port = map(int, words[:3])
        return DNSRRSRV(priority=priority, weight=weight, port=port, target=words[3], **common)
    if record.kind == "SOA":
        serial, refresh, retry, expire, minimum = map(int, words[2:])
        return DNSRRSOA(
            mname=words[0], rname=words[1], serial=serial, refresh=refresh, retry=retry, expire=expire,
            minimum=minimum, **common,
        )  # fmt: skip
    return DNSRR(type=type_number(record.kind), rdata=record.data, **common)


def _dns_record(layer: Any) -> Record:
    kind = type_name(layer.type)
    if kind == "SRV":
        data = f"{layer.priority} {layer.weight} {layer.port} {_text(layer.target)}"
    elif kind == "SOA":
        numbers = (layer.serial, layer.refresh, layer.retry, layer.expire, layer.minimum)
        data = " ".join([_text(layer.mname), _text(layer.rname), *map(str, numbers)])
    elif "rdata" not in {field.name for field in layer.fields_desc}:
        data = ""  # OPT and others of a form of their own
    else:
        parts = layer.rdata if isinstance(layer.rdata, list) else [layer.rdata]
        data = " ".join(map(_text, parts))
    return Record(_text(layer.rrname), kind, int(getattr(layer, "ttl", 0) or 0), data)


def _text(value: Any) -> str:
    return value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else str(value)
