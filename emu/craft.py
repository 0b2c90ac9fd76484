"""The one door to Scapy: it parses users' packets, builds them and DNS messages, and dissects frames for users.

Scapy is imported when the first of these is asked for: importing it takes longer than a small scenario. What the emulator
originates itself is made from `wire/templates.py`. While Scapy builds a packet it is `_sealed`: it cannot use the resolver, the
routing table, ARP or the clock of this host. Must not know devices or namespaces.
"""

from __future__ import annotations

import ast
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from emu.errors import InputError
from emu.wire.addr import ip4, ip4_text, mac
from emu.wire.dns import RCODES, Answer, Message, Question, Record, type_name, type_number

if TYPE_CHECKING:
    from scapy.packet import Packet as Packet  # noqa: PLC0414  (others name it by this module)

MAX_SHOWN = 200  # characters of an expression that an error shows
MAX_TEXT = 1 << 20  # characters of an expression
MAX_LAYERS = 64
MAX_FRAME = 14 + 0xFFFF  # an Ethernet header and the longest IPv4 packet
ZERO, UNSPECIFIED, BROADCAST = "00:00:00:00:00:00", "0.0.0.0", "ff:ff:ff:ff:ff:ff"


@cache
def _layers() -> dict[str, Any]:
    """The Scapy layers a user's expression may name."""
    from scapy.layers import dhcp, dns, inet, l2, ntp, sctp, vxlan
    from scapy.packet import NoPayload, Packet, Padding, Raw

    found: dict[str, Any] = {"Raw": Raw, "Padding": Padding}
    for module in (l2, inet, dns, dhcp, vxlan, ntp, sctp):
        found |= {n: v for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Packet)}
    return {name: layer for name, layer in found.items() if layer not in (Packet, NoPayload)}


class _Without:
    """A module that Scapy uses, with some of its functions replaced."""

    def __init__(self, module: ModuleType, **instead: Callable[..., Any]) -> None:
        self._module = module
        vars(self).update(instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _Route:
    """A routing table without routes: each look-up gives no interface, the emulated sender's address and no gateway."""

    def __init__(self, source: str) -> None:
        self._source = source

    def route(self, *asked: Any, **rest: Any) -> tuple[None, str, str]:
        return None, self._source, UNSPECIFIED


class _Neighbour:
    """Link addresses without an ARP request."""

    def resolve(self, link: Any, packet: Any) -> str:
        return ZERO


def _no_resolver(name: Any, *rest: Any) -> NoReturn:
    raise InputError(f"{_shown(repr(str(name)))} is not an address", expected="an address: names are not resolved")


@cache
def _no_net(net: type) -> type:
    """In the place of Scapy's Net, which an address field makes from a text that is no address, and which asks the resolver."""

    def refuse(self: Any, first: Any, last: Any = None, scope: Any = None) -> NoReturn:
        if last is None and "/" not in str(first):
            _no_resolver(first)
        text = str(first) if last is None else f"{first} to {last}"
        raise InputError(f"{_shown(repr(text))} is many addresses", expected=_ONE)

    return type("Net", (net,), {"__init__": refuse})


_ONE = "one value: a send sends one packet"
_lock = RLock()


@contextmanager
def _sealed(source: str = UNSPECIFIED) -> Iterator[None]:
    """While the block runs, Scapy uses nothing of this host: neither its resolver, its routes, its neighbours nor its clock.

    `source` is the source address of a packet without one. The lock keeps threads from each other's replacements.
    """
    from scapy import fields
    from scapy.config import conf
    from scapy.layers import inet, inet6, ntp

    with _lock:
        from calendar import timegm

        still: dict[str, Callable[..., Any]] = {"time": lambda: 0.0, "mktime": timegm}
        swaps: list[tuple[Any, str, Any]] = [
            (conf, "route", _Route(source)), (conf, "route6", _Route("::")), (conf, "neighbor", _Neighbour()),
            (fields, "Net", _no_net(fields.Net)), (fields, "Net6", _no_net(fields.Net6)),
            (inet6, "socket", _Without(inet6.socket, getaddrinfo=_no_resolver)),
            (fields, "time", _Without(fields.time, **still)), (inet, "time", _Without(inet.time, **still)),
            (ntp, "time", _Without(ntp.time, **still)),
        ]  # fmt: skip
        before = [getattr(place, name) for place, name, _ in swaps]
        for place, name, value in swaps:
            setattr(place, name, value)
        try:
            yield
        finally:
            for (place, name, _), value in zip(swaps, before, strict=True):
                setattr(place, name, value)


def expression(text: str) -> Any:
    """A Scapy packet from `IP(dst='10.96.0.10')/UDP(dport=53)/'payload'`, parsed and never evaluated.

    Allowed: layer names, keyword arguments that are literals or layers, strings or bytes as payload, and `/`. Addresses
    are addresses (no name is resolved), and each field has one value. The packet can be built. Raises InputError.
    """
    if len(text) > MAX_TEXT:
        raise InputError(f"a Scapy expression of {len(text):,} characters", expected=f"at most {MAX_TEXT:,}")
    try:
        body = ast.parse(text.strip(), mode="eval").body
        with _sealed():
            packet = _joined(_build(body))
        build(packet, 0, bytes(6))
        return packet
    except InputError:
        raise
    except SyntaxError as error:
        why = error.msg
    except UnicodeEncodeError:
        why = "it has a surrogate, which is half a character"
    except (RecursionError, MemoryError):
        why = "it is nested too deeply"
    except Exception as error:  # joining Scapy's layers may raise any exception
        why = _shown(str(error))
    raise InputError(f"cannot read the Scapy expression {_shown(repr(text))}: {why}", expected=_EXAMPLE)


_EXAMPLE = "IP(dst='..')/UDP(dport=..)"


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _build(node: ast.expr) -> list[Any]:
    """The layers of an expression from the outermost on, not yet joined."""
    parts: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):  # a / b / c is (a / b) / c
        parts.append(node.right)
        node = node.left
    found = _layer(node)
    for part in reversed(parts):
        found += _build(part) if isinstance(part, ast.BinOp) else _layer(part)
        if len(found) > MAX_LAYERS:
            raise InputError(f"a Scapy expression of more than {MAX_LAYERS} layers", expected=_EXAMPLE)
    return found


def _layer(node: ast.expr) -> list[Any]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
        return [_layers()["Raw"](node.value)]
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args):
        _refuse(node)
    layer = _layers().get(node.func.id)
    if layer is None:
        name = _shown(repr(node.func.id))
        raise InputError(f"Scapy has no layer {name} here", expected="Ether, ARP, IP, ICMP, UDP, TCP ...")
    names = {field.name for field in layer.fields_desc}
    values: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg not in names:
            what = f"{node.func.id} has no field {_shown(repr(keyword.arg))}"
            raise InputError(what, expected=", ".join(sorted(names)))
        assert keyword.arg is not None  # no field has the name None
        try:
            values[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError):
            values[keyword.arg] = _joined(_build(keyword.value))
    try:
        packet = layer(**values)
        _check_texts(packet, values)
        _check_fields(packet)
        bytes(_addressed(packet.copy()))
    except Exception as error:  # Scapy raises whatever its fields' packing raises
        raise _unbuildable(_shown(ast.unparse(node)), error) from None
    return [packet]


def _joined(layers: list[Any]) -> Any:
    packet, *rest = layers
    last = packet
    for layer in rest:
        last.add_payload(layer)
        last = layer
    return packet


def _refuse(node: ast.expr) -> NoReturn:
    what = f"{_shown(repr(ast.unparse(node)))} is not allowed in a Scapy expression"
    raise InputError(what, expected="layers with keyword literals, joined by /")


def _unbuildable(what: str, error: Exception) -> InputError:
    expected = error.expected if isinstance(error, InputError) else None
    why = error.what if isinstance(error, InputError) else _shown(str(error))
    return InputError(f"Scapy cannot build {what}: {why}", expected=expected)


def _check_texts(packet: Any, values: dict[str, Any]) -> None:
    """Refuse a name that Scapy's ARP would read as the bytes of another protocol's address. Raises InputError."""
    from scapy.fields import IPField, StrFixedLenField

    for name, value in values.items():
        field = packet.get_field(name)
        if not isinstance(value, str) or not isinstance(packet.fields[name], bytes):
            continue
        if any(isinstance(kind, IPField) for kind, _ in getattr(field, "flds", ())):
            if isinstance(field._find_fld_pkt_val(packet, value)[0], StrFixedLenField):
                _no_resolver(value)


def _check_fields(packet: Any) -> None:
    """Refuse what Scapy accepts and a frame cannot hold: several values for one field, names for addresses, and
    values that Scapy draws for each packet. Raises InputError."""
    from scapy.packet import NoPayload
    from scapy.volatile import VolatileValue

    while not isinstance(packet, NoPayload):
        for name, value in {**packet.default_fields, **packet.fields}.items():
            if isinstance(value, VolatileValue):
                raise InputError(f"{type(packet).__name__}.{name} is drawn at random by Scapy", expected="a value")
        for name, value in packet.fields.items():
            _check_value(packet, name, value)
        packet = packet.payload


def _check_value(packet: Any, name: str, value: Any) -> None:
    from scapy.base_classes import Gen
    from scapy.fields import ConditionalField, Emph, IPField, MACField, MultipleTypeField
    from scapy.packet import Packet as Layer

    field = packet.get_field(name)
    while isinstance(field, ConditionalField | Emph):
        field = field.fld
    if isinstance(field, MultipleTypeField):  # the field's type depends on other fields
        field = field._find_fld_pkt(packet)
    parts = value if isinstance(value, list | tuple) else (value,)
    for part in parts:
        if isinstance(part, Layer):
            _check_fields(part)
    if (parts is value and not field.islist) or (isinstance(value, Gen) and not isinstance(value, Layer)):
        what = f"{type(packet).__name__}.{name} has several values: {_shown(repr(value))}"
        raise InputError(what, expected=_ONE)
    if value is not None and isinstance(field, IPField):
        ip4(str(value))
    elif value and isinstance(field, MACField):
        mac(str(value))


def _addressed(packet: Any, source: str = UNSPECIFIED, mac: str = ZERO) -> Any:
    """Fill in every address and time that Scapy would read from this host, in all layers."""
    layers = _layers()
    link: dict[str, Any] = {"src": mac, "dst": ZERO}
    times: dict[str, Any] = {"ts_ori": 0, "ts_rx": 0, "ts_tx": 0}  # Scapy's default is the time of its import
    network: dict[str, Any] = {"src": source, "dst": UNSPECIFIED}
    for kind, fields in (
        ("IP", network), ("Ether", link), ("Dot3", link), ("ICMP", times), ("ICMPerror", times),
    ):  # fmt: skip
        layer = packet.getlayer(layers[kind])
        while layer is not None:
            for name, value in fields.items():
                if name not in layer.fields:
                    setattr(layer, name, value)
            layer = layer.payload.getlayer(layers[kind])
    layer = packet.getlayer(layers["ARP"])
    if layer is not None:
        for name, value in (("psrc", source), ("hwsrc", mac), ("hwdst", ZERO), ("pdst", UNSPECIFIED)):
            if name not in layer.fields:
                setattr(layer, name, value)
    return packet


def is_layer2(packet: Any) -> bool:
    """Does the packet bring its own Ethernet header?"""
    return isinstance(packet, (_layers()["Ether"], _layers()["Dot3"]))


def destination(packet: Any) -> str | None:
    """The IPv4 destination a user's packet names, None without one."""
    return _named(packet, "dst")


def source(packet: Any) -> str | None:
    """The IPv4 source a user's packet names, None without one."""
    return _named(packet, "src")


def _named(packet: Any, field: str) -> str | None:
    layer = packet.getlayer(_layers()["IP"])
    value = None if layer is None else layer.fields.get(field)
    return None if value is None else str(value)


def build(packet: Any, source: int, mac: bytes, ttl: int = 64) -> bytes:
    """A user's packet as a whole Ethernet frame; the emulated namespace fills in the fields that are not set.

    `source` is the source address of its route, `mac` that of its outgoing device. Raises InputError for what Scapy
    cannot build, for several packets in one, and for a packet longer than IPv4 allows.
    """
    layers = _layers()
    sender, link = ip4_text(source), mac.hex(":")
    with _sealed(sender):
        try:
            _check_fields(packet)
            packet = packet.copy()
            if not is_layer2(packet):
                arp = isinstance(packet, layers["ARP"])
                head = layers["Ether"](dst=BROADCAST if arp else ZERO, src=link, type=0x0806 if arp else 0x0800)
                packet = head / packet
            layer = packet.getlayer(layers["IP"])
            if layer is not None and "ttl" not in layer.fields:
                layer.ttl = ttl
            data = bytes(_addressed(packet, sender, link))
        except Exception as error:  # Scapy raises whatever its fields' packing raises
            raise _unbuildable("the packet", error) from None
    if len(data) > MAX_FRAME:
        raise InputError(f"a packet of {len(data) - 14:,} bytes", expected=f"at most {MAX_FRAME - 14:,}")
    return data


def dissect(data: bytes) -> Packet:
    """The Scapy packet of a frame's bytes."""
    packet: Packet = _layers()["Ether"](data)
    return packet


# -- DNS ---------------------------------------------------------------------------------------


def dns_query(question: Question, ident: int) -> bytes:
    """The bytes of a stub resolver's query: recursion desired, no EDNS."""
    return _dns_bytes(Message(ident, question))


def dns_answer(query: Message, answer: Answer, limit: int = 65535) -> bytes:
    """The bytes of a server's answer, at most `limit`. Names are compressed if the message is too long without; if it is
    still too long, records at the end are left out and TC is set (RFC 2181 section 9)."""
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
    """A DNS message from its bytes. Raises InputError for bytes that are no DNS message."""
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
    with _sealed():
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
        data = ""  # OPT and other records whose form differs
    else:
        parts = layer.rdata if isinstance(layer.rdata, list) else [layer.rdata]
        data = " ".join(map(_text, parts))
    return Record(_text(layer.rrname), kind, int(getattr(layer, "ttl", 0) or 0), data)


def _text(value: Any) -> str:
    return value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else str(value)
