"""Comments that are filled in are what the words state about each frame by itself."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from emu.capture.capture import Capture
from emu.capture.comment import Comments, words
from emu.capture.interface import Interface
from emu.capture.roles import FIELDS
from emu.capture.stretch import INTERFACE_SHIFT, PKT_TYPE_SHIFT, SHAPE
from emu.capture.tap import IN, OUT
from emu.capture.view import View
from emu.kernel.net.fib_semantics import Route
from emu.kernel.netfilter.save import parse_restore
from emu.kube.api.loader import load_text as manifests
from emu.kube.cluster import Cluster
from emu.kube.networks.network import networks
from emu.kube.plan import ClusterConfig
from emu.scenario.run import run
from emu.scenario.script import load_text
from emu.testing.scenarios import SmallScenario, small_scenarios
from emu.testing.strategies import examples
from emu.trail import (
    Answered,
    Asked,
    Born,
    Bridged,
    Decapsulated,
    Delivered,
    Learned,
    Natted,
    Policy,
    Tracked,
    Waited,
)
from emu.wire.addr import Prefix, ip4, ip4_text
from emu.wire.frame import AF_INET, OTHERHOST


def differing(capture: Capture) -> list[tuple[str, str]]:
    """What is written about frames, where it differs from the words about them alone. Each is asked for twice, from afresh."""
    found = []
    comments = Comments(capture.names, capture.interfaces)
    for _ in range(2):
        for frame in capture.frames():
            plain = words(comments.view(frame.code & SHAPE, frame.data, list(frame.trail)))
            made = comments.body(frame.code, frame.data, list(frame.trail)).decode()
            if made != plain:
                found.append((made, plain))
    return found


@examples(60)
@given(small_scenarios(wide=True))
def test_a_drawn_scenario(drawn: SmallScenario) -> None:
    note(drawn.text)
    capture = run(load_text(drawn.text)).cluster.capture
    assert capture is not None
    assert differing(capture) == []


PODS = """\
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 5, selector: {matchLabels: {app: web}}, template: {
  metadata: {labels: {app: web}}, spec: {containers: [{name: c, ports: [{containerPort: 8080}, {containerPort: 53, protocol: UDP}]}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: NodePort, selector: {app: web}, ports: [
  {name: web, port: 80, targetPort: 8080, nodePort: 30080}, {name: dns, port: 53, protocol: UDP}]}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: web}, spec: {podSelector: {}, ingress: [{ports: [{port: 8080}]}]}}
"""


@pytest.mark.parametrize("network", sorted(networks))
def test_many_flows_in_every_network(network: str) -> None:
    """From all to all: hairpins, Services, node ports, the world outside, and a policy where the network enforces one."""
    cluster = Cluster(ClusterConfig.of(2, network=network), manifests(PODS).objects)
    pods = sorted(cluster.pods)
    for source in pods:
        for target in ("svc/web:80", f"{pods[0]}:8080", "node/node-1:30080", "10.244.77.7:80"):
            cluster.tcp(source, target, b"x")
        cluster.udp(source, "svc/web:53", b"x")
    cluster.tcp("external", "node/node-2:30080", b"x")
    assert cluster.capture is not None
    assert differing(cluster.capture) == []


ADDRESSES = [0, *map(ip4, ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"))]
PORTS = [0, 1, 80, 8080]


class Conn:
    def __init__(self, number: int) -> None:
        self.name = f"node-1#{number}"


CONNS = [None, *map(Conn, range(3))]
BORN = Born("a socket sends 100% of it")
PLACE = st.integers(0, 3)
HALVES = st.tuples(PLACE, PLACE)
KINDS = st.sampled_from(("DNAT", "SNAT", "un-DNAT", "un-SNAT"))
ENTRIES = st.one_of(
    st.just((BORN,)),
    st.tuples(st.just(Natted), KINDS, HALVES, HALVES, st.integers(1, 3)),
    st.tuples(st.just(Tracked), st.integers(0, 3), st.sampled_from(("NEW", "ESTABLISHED")), st.booleans()),
)
# which address, port and connection stands at each place
ADDRESSED = st.lists(st.sampled_from(ADDRESSES), min_size=4, max_size=4)
PORTED = st.lists(st.sampled_from(PORTS), min_size=4, max_size=4)
CONNECTED = st.lists(st.sampled_from(CONNS[1:]), min_size=3, max_size=3).map(lambda conns: [None, *conns])
ORDINARY = ADDRESSES[1:], PORTS[1:] + PORTS[:1], CONNS
VALUES = st.one_of(
    st.tuples(ADDRESSED, PORTED, CONNECTED),
    *(
        st.tuples(*(each if at == moved else st.just(usual) for at, usual in enumerate(ORDINARY)))
        for moved, each in enumerate((ADDRESSED, PORTED, CONNECTED))
    ),
)


def entry(drawn: tuple[Any, ...], addresses: list[int], ports: list[int], conns: list[Any]) -> Any:
    if drawn[0] is Natted:
        _, kind, before, after, conn = drawn
        old, new = ((addresses[at], ports[port]) for at, port in (before, after))
        return Natted(kind, old, new, conns[conn])
    return Tracked(conns[drawn[1]], *drawn[2:]) if drawn[0] is Tracked else drawn[0]


@examples(300)
@given(
    st.sampled_from(("S", "A", "")), st.lists(ENTRIES, min_size=1, max_size=3), st.lists(VALUES, min_size=2, max_size=8)
)
def test_one_trail_with_other_values(flags: str, trail: list[tuple[Any, ...]], values: list[Any]) -> None:
    """Addresses with names and without, the owner's own, ports of 0 and recurring ones, and connections that are one or two."""
    names = {(AF_INET, ip4("10.0.0.1")): ["node-1"], (AF_INET, ip4("10.0.0.2")): ["svc/web"]}
    comments = Comments(names, [Interface(0, "node-1", "eth0", None)])
    for addresses, ports, conns in values:
        layer = TCP(sport=ports[0], dport=ports[1], flags=flags) if flags else UDP(sport=ports[0], dport=ports[1])
        ends = IP(src=ip4_text(addresses[0]), dst=ip4_text(addresses[1]))
        data = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / ends / layer)
        entries = [entry(each, addresses, ports, conns) for each in trail]
        assert comments.body(OUT, data, entries).decode() == words(comments.view(OUT, data, entries))


# -- places of one role -----------------------------------------------------------------------------------

MACS = [b"\xff" * 6, b"\x01\x00\x5e\x00\x00\x01", *(bytes((2, 0, 0, 0, 0, last)) for last in (1, 2))]
TEXTS = ["node-1", "svc/web", "cbr0", "eth0", "100% of it", "10.0.0.3"]
NAMES = {(AF_INET, ip4("10.0.0.1")): ["node-1"], (AF_INET, ip4("10.0.0.2")): ["svc/web"]}


INPUT = parse_restore("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j ACCEPT\nCOMMIT\n").chain("filter", "INPUT")
assert INPUT is not None
RULE = INPUT.rules[0]


class Device:
    def __init__(self, name: str) -> None:
        self.name = name


class Somewhere(NamedTuple):
    """An interface as comments use it."""

    owner: str
    device_name: str
    kind: str
    bridge: str


TEXT, ADDRESS, MAC = st.sampled_from(TEXTS), st.sampled_from(ADDRESSES), st.sampled_from(MACS)
FACTS: dict[str, Any] = {
    "Answered": st.builds(Answered, ADDRESS, TEXT, st.booleans()),
    "Asked": st.builds(Asked, ADDRESS, TEXT, ADDRESS, st.sampled_from(("resolve", "probe", "announce"))),
    "Born": st.builds(Born, TEXT),
    "Bridged: to a port": st.builds(Bridged, TEXT, TEXT),
    "Bridged: flooded": st.builds(Bridged, TEXT, st.none(), st.integers(1, 3)),
    "Bridged: up": st.builds(Bridged, TEXT, st.none(), st.just(0), st.just(True)),
    "Decapsulated": st.builds(Decapsulated, TEXT, st.sampled_from((None, 1)), ADDRESS),
    "Delivered": st.builds(Delivered, TEXT, TEXT),
    "Learned": st.builds(Learned, TEXT, TEXT, MAC),
    "Policy": st.builds(Policy, st.just("filter"), st.sampled_from(("INPUT", "FORWARD")), st.just("ACCEPT")),
    "Waited": st.builds(Waited, ADDRESS, TEXT),
    "Route": st.builds(
        Route,
        st.sampled_from([Prefix.parse("0.0.0.0/0"), Prefix.parse("10.0.0.0/24")]),
        st.sampled_from(("unicast", "unreachable")),
        st.builds(Device, TEXT),
        ADDRESS,
        table=st.sampled_from((254, 220)),
    ),
    "Rule": st.just(RULE),
    "Natted": st.builds(
        Natted, KINDS, st.tuples(ADDRESS, st.just(80)), st.tuples(ADDRESS, st.just(81)), st.sampled_from(CONNS[1:])
    ),
    "Tracked": st.builds(Tracked, st.sampled_from(CONNS[1:]), st.sampled_from(("NEW", "ESTABLISHED")), st.booleans()),
}


def test_every_entry_of_the_table_is_drawn() -> None:
    drawn = {name.partition(":")[0] for name in FACTS}
    assert drawn >= {each.__name__ for each in (*FIELDS, Route, Natted, Tracked)}


@examples(400)
@given(
    st.lists(st.sampled_from([*FACTS]), min_size=1, max_size=3), st.sampled_from(("arp", "udp", "S", "A")), st.data()
)
def test_one_kind_of_trail_at_other_places(kinds: list[str], proto: str, data: st.DataObject) -> None:
    """Owners, devices, bridges, MACs and entries of which a few have other values, which are the same ones or not, with names or without."""
    last: dict[str, Any] = {}
    changed = ""

    def drawn(what: str, of: Any) -> Any:
        if what not in last or what == changed:
            last[what] = data.draw(of)
        return last[what]

    places: list[Somewhere] = []
    comments = Comments(NAMES, places)
    for number in range(12):
        if number:
            changed = data.draw(st.sampled_from([*last]))
        places.append(
            Somewhere(
                drawn("owner", TEXT), drawn("device", TEXT), drawn("kind", st.sampled_from(("veth", "loopback"))),
                drawn("bridge", st.sampled_from(("", "cbr0", "br1"))),
            )
        )  # fmt: skip
        way = drawn("way", st.sampled_from((IN, OUT, IN | OTHERHOST << PKT_TYPE_SHIFT)))
        src, dst = (ip4_text(drawn(end, ADDRESS)) for end in ("src", "dst"))
        frame = Ether(src="02:00:00:00:00:09", dst=drawn("mac", MAC).hex(":"))
        if proto == "arp":
            operation = drawn("operation", st.sampled_from((1, 2)))
            frame /= ARP(op=operation, psrc=src, pdst=dst, hwsrc="02:00:00:00:00:09")
        else:
            layer = UDP(sport=4000, dport=80) if proto == "udp" else TCP(sport=4000, dport=80, flags=proto)
            frame /= IP(src=src, dst=dst) / layer
        entries = [drawn(f"{at}", FACTS[kind]) for at, kind in enumerate(kinds)]
        code, raw = number << INTERFACE_SHIFT | way, bytes(frame)
        assert comments.body(code, raw, entries).decode() == words(comments.view(code, raw, entries))


HERE, THERE = ip4("10.0.0.3"), ip4("10.0.0.4")
DEFAULT, NEAR = Prefix.parse("0.0.0.0/0"), Prefix.parse("10.0.0.0/24")
# entries of which each differs from another one in one field
ONE_FIELD = [
    Asked(HERE, "eth0", THERE), Asked(HERE, "eth0", THERE, "probe"), Asked(HERE, "eth0", THERE, "announce"),
    Asked(HERE, "eth0", HERE), Asked(HERE, "eth0"), Answered(HERE, "eth0"), Answered(HERE, "eth0", proxy=True),
    Bridged("cbr0", "eth0"), Bridged("cbr0", flooded=1), Bridged("cbr0", flooded=2), Bridged("cbr0", up=True),
    Decapsulated("flannel.1", 1, HERE), Decapsulated("flannel.1", 2, HERE), Decapsulated("flannel.1", None, HERE),
    Policy("filter", "INPUT", "ACCEPT"), Policy("filter", "INPUT", "DROP"), Policy("filter", "FORWARD", "ACCEPT"),
    Route(NEAR, "unicast", Device("eth0")), Route(NEAR, "unicast", Device("eth0"), table=220),
    Route(NEAR, "unreachable"), Route(DEFAULT, "unicast", Device("eth0"), HERE), Delivered("host", "a socket"),
    Learned("cbr0", "eth0", MACS[2]), Learned("cbr0", "eth0", MACS[3]), Waited(HERE, "eth0"), Waited(THERE, "eth0"),
]  # fmt: skip


@pytest.mark.parametrize("proto", ["arp", "tcp"])
def test_what_words_are_chosen_by_chooses_the_form(proto: str) -> None:
    """Each entry alone and behind what a host sends, with each kind of destination, addresses that are none, and on every way."""
    frames = []
    for entry_, mac, src, kind, way in product(ONE_FIELD, MACS, ("10.0.0.3", "0.0.0.0", "10.0.0.4"), (0, 1), (IN, OUT)):
        ether = Ether(src="02:00:00:00:00:09", dst=mac.hex(":"))
        arp = ARP(psrc=src, pdst="10.0.0.4", hwsrc="02:00:00:00:00:09")
        data = bytes(ether / (arp if proto == "arp" else IP(src=src, dst="10.0.0.4") / TCP(sport=4000, dport=80)))
        frames += [(kind << INTERFACE_SHIFT | way, data, trail) for trail in ([entry_], [BORN, entry_], [])]
    places = [Somewhere("host", "eth0", kind, "") for kind in ("veth", "loopback")]
    for order in (frames, frames[::-1]):
        comments = Comments({}, places)
        for code, data, trail in order:
            assert comments.body(code, data, trail).decode() == words(comments.view(code, data, trail)), trail


@pytest.mark.pure("a method of a compiled class is not replaced")
def test_places_of_one_role_share_a_form() -> None:
    """Also of ARP: of a second host on a second bridge nothing is written anew."""
    comments = Comments({}, [Somewhere(f"host-{n}", "eth0", "veth", "") for n in range(9)])
    written = []
    real = comments.view

    def view(shape: int, data: bytes, trail: list[Any]) -> View:
        written.append(shape)
        return real(shape, data, trail)

    comments.view = view  # type: ignore[method-assign]
    for n in range(9):
        ether = Ether(src=f"02:00:00:00:00:0{n}", dst=f"02:00:00:00:01:0{n}")
        segment = ether / IP(src=f"10.0.{n}.1", dst=f"10.0.{n}.2") / TCP(sport=4000 + n, dport=80)
        question = Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(
            psrc=f"10.0.{n}.1", pdst=f"10.0.{n}.2", hwsrc=f"02:00:00:00:00:0{n}"
        )
        route = Route(Prefix.parse("0.0.0.0/0"), "unicast", Device("eth0"), ip4(f"10.0.{n}.254"))
        for data, trail in ((bytes(segment), [BORN, route]), (bytes(question), [Asked(ip4(f"10.0.{n}.2"), "eth0")])):
            assert f"host-{n}" in comments.body(n << INTERFACE_SHIFT | OUT, data, trail).decode()
    assert len(written) == 2


def test_a_copy_of_a_state_has_forms_of_its_own() -> None:
    """What is remembered by identity is no part of a copy, whose objects are others."""
    cluster = Cluster(2, manifests(PODS).objects)
    source = min(cluster.pods)
    cluster.tcp(source, "svc/web:80", b"x")
    assert cluster.capture is not None
    before = [frame.comment() for frame in cluster.capture.frames()]
    copy = cluster.fork()
    del cluster
    assert copy.capture is not None
    assert [frame.comment() for frame in copy.capture.frames()] == before
    copy.tcp(source, "svc/web:80", b"x")
    view = copy.capture.comments.view
    for frame in copy.capture.frames():
        assert frame.comment().startswith(words(view(frame.code & SHAPE, frame.data, list(frame.trail))))
