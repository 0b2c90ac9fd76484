"""A trail in words: a sentence for every kind of entry, facts in order, the rules of one walk together."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from emu import trail
from emu.capture.comment import facts, sentence
from emu.capture.tap import DROP, IN, OUT
from emu.capture.view import View
from emu.capture.words import WORDS, decided_by, word_of
from emu.clock import Clock
from emu.kernel.link.device import Device
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.iproute import parse_route
from emu.kernel.netfilter.ruleset import Rule
from emu.kernel.netfilter.save import parse_restore
from emu.rule import AnyRule
from emu.wire.addr import ip4, ip4_text
from emu.wire.summary import read

A, B, TO_ALL = "02:00:00:00:00:01", "02:00:00:00:00:02", "ff:ff:ff:ff:ff:ff"
CLIENT, SERVICE, WEB, GATEWAY = (ip4(text) for text in ("10.244.1.11", "10.96.0.10", "10.244.2.13", "10.244.1.1"))
NAMES = {
    CLIENT: ["default/client"],
    SERVICE: ["svc/web.default", "web"],
    WEB: ["default/web-0"],
    GATEWAY: ["node-1/cbr0"],
}
CONN: Any = SimpleNamespace(name="node-1#5")
SYN = Ether(src=A, dst=B) / IP(src="10.244.1.11", dst="10.96.0.10") / TCP(sport=40001, dport=80, flags="S")
PING = Ether(src=A, dst=B) / IP(src="10.244.1.11", dst="10.244.2.13") / ICMP(type=8, seq=1)
WHO_HAS = Ether(src=A, dst=TO_ALL) / ARP(op=1, psrc="10.244.1.11", pdst="10.244.1.1")
DNAT = trail.Natted("DNAT", (SERVICE, 80), (WEB, 8080), CONN)
UN_DNAT = trail.Natted("un-DNAT", (WEB, 8080), (SERVICE, 80), CONN)
SNAT = trail.Natted("SNAT", (CLIENT, 40001), (ip4("192.168.50.11"), 40001), CONN)
UN_SNAT = trail.Natted("un-SNAT", (ip4("192.168.50.11"), 40001), (CLIENT, 40001), CONN)
NEW = trail.Tracked(CONN, "NEW", True)
RULES = """\
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-X - [0:0]
:KUBE-SEP-Y - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A POSTROUTING -o eth0 -j MASQUERADE
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-X
-A KUBE-SVC-X -j KUBE-MARK-MASQ
-A KUBE-SVC-X -j KUBE-SEP-Y
-A KUBE-SEP-Y -p tcp -m tcp -j DNAT --to-destination 10.244.2.13:8080
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-SERVICES - [0:0]
-A FORWARD -j KUBE-FORWARD
-A FORWARD -j KUBE-SERVICES
-A FORWARD -j DROP
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-SERVICES -d 10.96.0.10/32 -m comment --comment "default/web has no endpoints" -j REJECT --reject-with icmp-port-unreachable
COMMIT
"""
RULESET = parse_restore(RULES)
DEVICES = {name: Device(Clock(), name) for name in ("eth0", "cbr0")}


def rule(table: str, chain: str, number: int) -> Rule:
    found = RULESET.chain(table, chain)
    assert found is not None
    return found.rules[number - 1]


def route(text: str) -> Route:
    return parse_route(text, DEVICES.__getitem__)


DEFAULT, ON_LINK = route("default via 192.168.50.1 dev eth0"), route("10.244.1.0/24 dev cbr0")
NAT_WALK = (
    rule("nat", "PREROUTING", 1),
    rule("nat", "KUBE-SERVICES", 1),
    rule("nat", "KUBE-SVC-X", 1),
    rule("nat", "KUBE-MARK-MASQ", 1),
    rule("nat", "KUBE-SVC-X", 2),
    rule("nat", "KUBE-SEP-Y", 1),
)
REJECTED = rule("filter", "KUBE-SERVICES", 1)


def view(packet: Packet, *entries: Any, direction: int = OUT, **changes: Any) -> View:
    data = bytes(packet)
    names = {addr: names[0] for addr, names in NAMES.items()}
    made = View(
        "node-1",
        "cbr0",
        "bridge",
        "",
        direction,
        False,
        data[:6],
        read(data),
        entries,
        lambda a: names.get(a) or ip4_text(a),
    )
    return dataclasses.replace(made, **changes)


def test_every_kind_of_entry_has_its_words() -> None:
    kinds = {
        kind for kind in vars(trail).values() if hasattr(kind, "__match_args__") and kind.__module__ == trail.__name__
    }
    assert kinds | {AnyRule, Route} == set(WORDS)


def test_what_has_no_name_is_shown_by_its_bytes() -> None:
    seen = view(PING, "something new")
    assert sentence(seen) == "node-1 sends ping number 1 from default/client to default/web-0"
    assert facts(seen) == ["something new"]


# -- sentences -----------------------------------------------------------------------------------

ASK = trail.Asked(GATEWAY, "eth0", WEB)
SENTENCES: list[tuple[str, Packet, tuple[Any, ...], str]] = [
    ("asks", WHO_HAS, (ASK,), "node-1 asks who has node-1/cbr0, the next hop of a packet to default/web-0 that waits"),
    (
        "asks for it",
        WHO_HAS,
        (trail.Asked(WEB, "cbr0", WEB),),
        "node-1 asks who has default/web-0: a packet for it waits",
    ),
    (
        "probes",
        WHO_HAS,
        (trail.Asked(WEB, "cbr0", why="probe"),),
        "node-1 asks whether default/web-0 is still there: its neighbour entry is stale",
    ),
    (
        "announces",
        WHO_HAS,
        (trail.Asked(CLIENT, "eth0", why="announce"),),
        "node-1 announces default/client on eth0 (gratuitous ARP)",
    ),
    ("answers", WHO_HAS, (trail.Answered(GATEWAY, "cbr0"),), "node-1 answers that node-1/cbr0 is at its own MAC"),
    (
        "proxies",
        WHO_HAS,
        (trail.Answered(WEB, "eth0", proxy=True),),
        "node-1 answers for default/web-0, which it reaches through eth0 (proxy ARP)",
    ),
    (
        "routes",
        SYN,
        (NEW, DEFAULT),
        (
            "node-1 routes a connection request (SYN) from default/client to svc/web.default:80: "
            "default via 192.168.50.1 dev eth0"
        ),
    ),
    (
        "born, off link",
        SYN,
        (trail.Born("a socket sends"), DEFAULT),
        (
            "node-1: a socket sends, a connection request (SYN) from default/client to svc/web.default:80. "
            "The destination is not on link, so the frame goes to the gateway 192.168.50.1"
        ),
    ),
    (
        "born, on link",
        PING,
        (trail.Born("a ping"), ON_LINK, trail.Waited(WEB, "cbr0")),
        (
            "node-1: a ping, ping number 1 from default/client to default/web-0. "
            "The destination is on link at cbr0, so the frame goes to it directly"
        ),
    ),
    (
        "DNAT by rules",
        SYN,
        (NEW, *NAT_WALK, DNAT, trail.Bridged("cbr0", up=True)),
        (
            "DNAT: kube-proxy's rules rewrite the Service address svc/web.default (10.96.0.10:80) "
            "to the endpoint default/web-0 (10.244.2.13:8080)"
        ),
    ),
    (
        "DNAT remembered",
        SYN,
        (DNAT,),
        (
            "DNAT: the destination svc/web.default (10.96.0.10:80) becomes default/web-0 (10.244.2.13:8080) "
            "(connection node-1#5 has it already, no rule is walked)"
        ),
    ),
    (
        "un-DNAT",
        SYN,
        (DEFAULT, UN_DNAT),
        (
            "un-DNAT: the reply's source default/web-0 (10.244.2.13:8080) becomes svc/web.default (10.96.0.10:80), "
            "the address that the client asked (connection node-1#5 has it already, no rule is walked)"
        ),
    ),
    (
        "masquerade",
        SYN,
        (DEFAULT, rule("nat", "POSTROUTING", 2), SNAT),
        (
            "SNAT: a rule rewrites the source default/client (10.244.1.11:40001) to 192.168.50.11:40001, "
            "the address of the interface that it goes out of (masquerade)"
        ),
    ),
    (
        "un-SNAT",
        SYN,
        (UN_SNAT,),
        (
            "un-SNAT: the reply's destination 192.168.50.11:40001 becomes default/client (10.244.1.11:40001), "
            "the original source (connection node-1#5 has it already, no rule is walked)"
        ),
    ),
    (
        "flooded",
        WHO_HAS,
        (trail.Bridged("cbr0", flooded=3), trail.Bridged("cbr0", port="veth1")),
        "cbr0 floods the ARP request who has node-1/cbr0 (from default/client) to 3 ports, because it is a broadcast",
    ),
    (
        "flooded, unknown",
        PING,
        (trail.Bridged("cbr0", flooded=1), trail.Bridged("cbr0", port="veth1")),
        "cbr0 floods ping number 1 to the only other port, because its FDB has no entry for 02:00:00:00:00:02",
    ),
    (
        "handed up",
        PING,
        (trail.Bridged("cbr0", up=True),),
        "cbr0 passes ping number 1 from default/client to default/web-0 up to node-1: its destination MAC is the bridge's own",
    ),
    (
        "bridged",
        PING,
        (trail.Bridged("cbr0", port="veth1"),),
        (
            "cbr0 finds the destination MAC in its FDB, and sends ping number 1 from default/client to default/web-0 "
            "out of veth1"
        ),
    ),
    (
        "rejected",
        SYN,
        (rule("filter", "FORWARD", 2), REJECTED, trail.Dropped("NETFILTER_DROP", "node-1", "cbr0", REJECTED)),
        (
            "node-1/cbr0 drops a connection request (SYN) from default/client to svc/web.default:80: "
            'a rule rejects it: "default/web has no endpoints"'
        ),
    ),
    (
        "dropped",
        PING,
        (trail.Dropped("NEIGH_FAILED", "node-1", "cbr0"),),
        "node-1/cbr0 drops ping number 1 from default/client to default/web-0: no host answers ARP for the next hop",
    ),
    (
        "dropped, new reason",
        PING,
        (trail.Dropped("XFRM_POLICY", "node-1", "cbr0"),),
        "node-1/cbr0 drops ping number 1 from default/client to default/web-0: XFRM_POLICY",
    ),
    (
        "by policy",
        PING,
        (trail.Dropped("NETFILTER_DROP", "node-1", "cbr0", trail.Policy("filter", "FORWARD", "DROP")),),
        "node-1/cbr0 drops ping number 1 from default/client to default/web-0: no rule accepts it",
    ),
]


@pytest.mark.parametrize(
    ("packet", "entries", "sentence_text"), [case[1:] for case in SENTENCES], ids=[case[0] for case in SENTENCES]
)
def test_sentences(packet: Packet, entries: tuple[Any, ...], sentence_text: str) -> None:
    assert sentence(view(packet, *entries)) == sentence_text


def test_a_translation_names_the_rule_that_chose_it() -> None:
    """The walk of another chain before, or another translation, does not count."""
    walked, chose = rule("nat", "POSTROUTING", 1), rule("nat", "POSTROUTING", 2)
    returned = rule("nat", "KUBE-POSTROUTING", 1)
    sentence_text = sentence(view(SYN, *NAT_WALK, DNAT, DEFAULT, walked, returned, chose, SNAT)).split("; ")
    assert [text.split(" rewrite")[0] for text in sentence_text] == ["DNAT: kube-proxy's rules", "SNAT: a rule"]
    assert "no rule is walked" in sentence(view(SYN, *NAT_WALK, DNAT, DEFAULT, SNAT)).split("; ")[1]


def test_an_owner_is_not_named_twice() -> None:
    assert (
        sentence(view(SYN, owner="default/client"))
        == "default/client sends a connection request (SYN) to svc/web.default:80"
    )
    for packet, sentence_text in (
        (PING, "default/web-0 receives ping number 1 from default/client"),
        (SYN, "svc/web.default receives a connection request (SYN) from default/client for port 80"),
    ):
        assert sentence(view(packet, owner=sentence_text.split()[0], device="eth0", direction=IN)) == sentence_text


@pytest.mark.parametrize(
    ("changes", "sentence_text"),
    [
        ({"direction": OUT}, "node-1 sends"),
        ({"direction": OUT, "device": "veth1", "bridge": "cbr0"}, "cbr0's port veth1 sends"),
        ({"direction": IN, "device": "veth1", "bridge": "cbr0", "foreign": True}, "cbr0's port veth1 receives"),
        ({"direction": IN, "device": "eth0"}, "node-1 receives"),
        ({"direction": IN, "device": "lo", "kind": "loopback"}, "node-1 receives what it sent to itself:"),
        ({"direction": DROP, "device": "drop"}, "node-1 drops"),
    ],
)
def test_an_empty_trail_is_shown_by_bytes_and_place(changes: dict[str, Any], sentence_text: str) -> None:
    assert sentence(view(PING, **changes)) == f"{sentence_text} ping number 1 from default/client to default/web-0"


# -- facts ---------------------------------------------------------------------------------------

TTL = f"ttl {SYN[IP].ttl + 1} -> {SYN[IP].ttl}"
FACTS: list[tuple[str, Packet, tuple[Any, ...], list[str]]] = [
    (
        "a Service's new connection",
        SYN,
        (NEW, *NAT_WALK, DNAT, trail.Bridged("cbr0", up=True)),
        [
            (
                "nat KUBE-SERVICES -> KUBE-SVC-X -> KUBE-SEP-Y: DNAT dst 10.96.0.10:80 -> 10.244.2.13:8080, ct NEW node-1#5"
            ),
            "nat KUBE-MARK-MASQ rule 1: MARK --set-xmark 0x4000/0x4000",
            "rule 1 of KUBE-SEP-Y: -p tcp -m tcp -j DNAT --to-destination 10.244.2.13:8080",
            "bridge cbr0: handed up",
        ],
    ),
    (
        "forwarded, accepted, masqueraded",
        SYN,
        (
            DEFAULT,
            rule("filter", "FORWARD", 1),
            rule("filter", "KUBE-FORWARD", 1),
            rule("nat", "POSTROUTING", 1),
            rule("nat", "POSTROUTING", 2),
            SNAT,
            trail.Waited(ip4("192.168.50.1"), "eth0"),
        ),
        [
            "route default via 192.168.50.1 dev eth0",
            TTL,
            "filter KUBE-FORWARD rule 1: ACCEPT",
            "nat POSTROUTING: SNAT src 10.244.1.11:40001 -> 192.168.50.11:40001, ct node-1#5",
            "rule 2 of POSTROUTING: -o eth0 -j MASQUERADE",
            "waited for ARP: 192.168.50.1 dev eth0",
        ],
    ),
    (
        "nothing matched",
        PING,
        (DEFAULT, rule("filter", "FORWARD", 1), rule("filter", "FORWARD", 2), rule("nat", "POSTROUTING", 1)),
        [
            "route default via 192.168.50.1 dev eth0",
            f"ttl {PING[IP].ttl + 1} -> {PING[IP].ttl}",
            "filter FORWARD: KUBE-FORWARD, KUBE-SERVICES: no rule there matches",
            "nat POSTROUTING: KUBE-POSTROUTING: no rule there matches",
        ],
    ),
    (
        "rejected",
        SYN,
        (rule("filter", "FORWARD", 2), REJECTED, trail.Dropped("NETFILTER_DROP", "node-1", "cbr0", REJECTED)),
        [
            "filter KUBE-SERVICES rule 1: REJECT --reject-with icmp-port-unreachable",
            (
                "dropped NETFILTER_DROP at node-1/cbr0 by filter KUBE-SERVICES rule 1: -A KUBE-SERVICES -d 10.96.0.10/32 "
                '-m comment --comment "default/web has no endpoints" -j REJECT --reject-with icmp-port-unreachable'
            ),
        ],
    ),
    (
        "born here, no ttl changed",
        PING,
        (trail.Born("a ping"), DEFAULT, trail.Tracked(CONN, "ESTABLISHED")),
        ["route default via 192.168.50.1 dev eth0", "ct node-1#5 is ESTABLISHED"],
    ),
    (
        "a node's own packet to a Service",
        SYN,
        (trail.Born("a socket sends"), DEFAULT, NEW, DNAT, ON_LINK),
        [
            "born here: a socket sends",
            "route default via 192.168.50.1 dev eth0",
            "nat: DNAT dst 10.96.0.10:80 -> 10.244.2.13:8080, ct NEW node-1#5",
            "route 10.244.1.0/24 dev cbr0 scope link",
        ],
    ),
    (
        "an ICMP query's id is no port",
        PING,
        (trail.Natted("SNAT", (CLIENT, 77), (GATEWAY, 78), CONN),),
        ["nat: SNAT src 10.244.1.11 -> 10.244.1.1, ct node-1#5"],
    ),
    (
        "flooded",
        WHO_HAS,
        (ASK, trail.Bridged("cbr0", flooded=3), trail.Bridged("cbr0", port="veth1")),
        ["arp who-has 10.244.1.1 dev eth0 (resolve)", "bridge cbr0: flooded to 3 ports"],
    ),
    (
        "policy routing",
        PING,
        (dataclasses.replace(DEFAULT, table=100),),
        ["route default via 192.168.50.1 dev eth0 table 100", f"ttl {PING[IP].ttl + 1} -> {PING[IP].ttl}"],
    ),
    (
        "a reset, the only answer, ends the entry",
        SYN,
        (trail.Tracked(CONN, trail.DESTROYED),),
        ["ct node-1#5 is destroyed"],
    ),
    ("invalid", PING, (trail.Tracked(None, "INVALID"),), ["ct INVALID"]),
    ("note", PING, (trail.Note("and so on"), trail.Note("and on")), ["and so on", "and on"]),
    ("a note alone is the sentence", PING, (trail.Note("and so on"),), []),
    ("delivered", PING, (trail.Delivered("node-1", "a socket"),), ["delivered to a socket"]),
]


@pytest.mark.parametrize(
    ("packet", "entries", "expected"), [case[1:] for case in FACTS], ids=[case[0] for case in FACTS]
)
def test_facts(packet: Packet, entries: tuple[Any, ...], expected: list[str]) -> None:
    assert "\n".join(facts(view(packet, *entries))) == "\n".join(expected)


class Verdict(AnyRule):
    """A rule of another mode than iptables."""

    table, chain, number, line = "inet proxy", "filter-input", 3, 12
    comment, spec, act, jump, based, rejects = "no", "ip daddr 10.96.0.10 reject", "reject", "", True, True

    def __str__(self) -> str:
        return self.spec


def test_a_rule_of_another_mode_has_the_same_words() -> None:
    entry = Verdict()
    assert decided_by(entry, lines=True) == "inet proxy filter-input rule 3, line 12: ip daddr 10.96.0.10 reject"
    seen = view(PING, entry)
    assert word_of(entry) is WORDS[AnyRule]
    assert facts(seen) == ["inet proxy filter-input rule 3: reject"]
    assert sentence(seen).endswith(", and no rule stops it")
    dropped = trail.Dropped("NETFILTER_DROP", "n1", "eth0", entry)
    assert sentence(view(PING, dropped)).endswith('a rule rejects it: "no"')
