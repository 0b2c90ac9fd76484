"""Pasted texts with faults in them: each is read, or refused as bad input; none raises anything else. Must not need a kernel."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.errors import InputError
from emu.pasted.connections import connections
from emu.pasted.ip_text import objects
from emu.report.node import read_node

RULES = """\
$ sudo iptables -t nat -S
-P PREROUTING ACCEPT
-N KUBE-SVC-WEB
-A PREROUTING -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-WEB
-A KUBE-SVC-WEB -m comment --comment "a b" -j DNAT --to-destination 10.244.1.3:8080
iptables -t filter -I FORWARD 1 -s 10.0.0.0/8 -j DROP
Chain FORWARD (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination
    5   300 DROP       tcp  --  *      eth0    0.0.0.0/0            10.0.0.1             tcp dpt:80 ctstate NEW
*filter
:FORWARD ACCEPT [0:0]
COMMIT
"""
TEXTS = {
    "route": "default via 10.0.0.1 dev eth0\n10.5.0.0/24\n\tnexthop via 10.0.0.2 dev d0 weight 2\n10.8.0.0/24 tos 0x10 dev d0 mtu lock 1400\n"
    "Kernel IP routing table\n10.0.0.0 0.0.0.0 255.255.255.0 U 0 0 0 d0\n",
    "rule": "100:\tfrom 10.9.0.0/16 to 1.2.3.4 fwmark 0x80/0x80 iif d0 uidrange 5-10 ipproto tcp sport 5 dport 80-90 lookup 77\n"
    "101:\tnot from all lookup 7 suppress_prefixlength 0\n",
    "addr": "1: lo: <LOOPBACK,UP> mtu 65536 state UNKNOWN\n    inet 127.0.0.1/8 scope host lo\n2: d0    inet 10.0.0.1/24 peer 1.2.3.4/32 scope global d0\n",
    "neigh": "10.0.0.2 dev d0 lladdr 02:00:00:00:00:01 REACHABLE\n",
    "conntrack": "udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=5 dport=53 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=53 dport=5 mark=0 use=1\n",
}
WORDS = st.sampled_from(
    [
        "",
        "x",
        "0",
        "-",
        "!",
        "*",
        "#",
        '"',
        "$",
        "-A",
        "-j",
        "-I",
        "-t",
        "DNAT",
        "FORWARD",
        "iptables",
        "-P",
        "/",
        ":",
        "5-",
    ]
)


@st.composite
def broken(draw: st.DrawFn, text: str) -> str:
    """The text with words and lines changed, doubled, cut and left out."""
    lines = text.split("\n")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        words = lines[at].split(" ")
        place = draw(st.integers(0, len(words) - 1))
        match draw(st.sampled_from(["change", "insert", "leave out", "cut", "double", "drop"])):
            case "change":
                words[place] = draw(WORDS)
            case "insert":
                words[place] = words[place][:2] + draw(WORDS) + words[place][2:]
            case "leave out":
                del words[place]
            case "cut":
                words = words[: place + 1]
            case "double":
                lines.insert(at, lines[at])
                continue
            case _:
                words = []
        lines[at] = " ".join(words)
    return "\n".join(lines)


@given(st.data())
def test_broken_rules_are_read_or_refused(data: st.DataObject) -> None:
    with suppress(InputError):
        read_node(data.draw(broken(RULES)))


@given(st.data(), st.sampled_from(sorted(TEXTS)))
def test_other_broken_texts_are_read_or_refused(data: st.DataObject, kind: str) -> None:
    text = data.draw(broken(TEXTS[kind]))
    with suppress(InputError):
        _ = connections(text) if kind == "conntrack" else objects(kind, text)


def test_a_rule_that_no_table_takes_is_refused() -> None:
    with pytest.raises(InputError, match="no table has both") as error:
        read_node("-A FORWARD -j DNAT --to-destination 1.2.3.4\n")
    assert error.value.line == 1
