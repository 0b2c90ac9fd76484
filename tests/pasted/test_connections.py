"""`conntrack -L` as the given state of a node: what it holds, and what a packet meets. Must not need a kernel."""

from __future__ import annotations

import pytest

from emu.errors import InputError
from emu.kernel.netfilter.conntrack_list import render
from emu.pasted.connections import connections
from emu.report.node import read_node
from emu.report.outcomes import Probe
from emu.report.packet import trace
from emu.wire.addr import ip4
from emu.wire.frame import UDP

LINES = (
    "tcp      6 431999 ESTABLISHED src=10.244.1.2 dst=10.96.0.10 sport=40000 dport=80 src=10.244.2.2 dst=10.244.1.2 sport=8080 dport=40000 [ASSURED] mark=0 use=1",
    "udp      17 29 src=10.244.1.2 dst=10.96.0.20 sport=43145 dport=53 [UNREPLIED] src=10.96.0.20 dst=10.244.1.2 sport=53 dport=43145 mark=0 use=1",
    "icmp     1 29 src=10.244.1.2 dst=10.244.2.2 type=8 code=0 id=7 src=10.244.2.2 dst=10.244.1.2 type=0 code=0 id=7 mark=5 use=1",
    "udp      17 119 src=10.244.1.2 dst=8.8.8.8 sport=5353 dport=53 src=8.8.8.8 dst=192.168.51.11 sport=53 dport=1024 [ASSURED] mark=0 use=1",
)
ROUTES = "default via 192.168.51.1 dev eth0\n10.244.1.0/24 dev cbr0 scope link src 10.244.1.1\n"
RULES = """\
*nat
-A PREROUTING -d 10.96.0.20/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.244.1.9:53
COMMIT
"""


@pytest.mark.parametrize(
    "form",
    [
        "{}\n",
        "ipv4     2 {}\n",
        "$ sudo conntrack -L\n{}\nconntrack v1.4.7 (conntrack-tools): 1 flow entries have been shown.\n",
    ],
)
@pytest.mark.parametrize("line", LINES)
def test_an_entry_comes_back_as_it_is_listed(line: str, form: str) -> None:
    node = read_node("*nat\nCOMMIT\n", routes=ROUTES, connections=form.format(line))
    net, _sent = node.build()
    assert net.conntrack is not None
    (conn,) = net.conntrack
    assert render(conn, net.clock.now).removeprefix("ipv4     2 ") == line


def test_a_stale_entry_decides_in_place_of_the_rules() -> None:
    """The entry was made before the Service had endpoints: its packets leave unchanged until it ends."""
    probe = Probe(UDP, ip4("10.244.1.2"), ip4("10.96.0.20"), 43145, 53, "cbr0")
    fresh = trace(read_node(RULES, routes=ROUTES), probe).report.data["outcomes"]
    assert [each["there"]["destination"] for each in fresh] == ["10.244.1.9:53"]
    stale = trace(read_node(RULES, routes=ROUTES, connections=LINES[1]), probe).report.data["outcomes"]
    assert [(each["there"]["destination"], each["there"]["outInterface"]) for each in stale] == [
        ("10.96.0.20:53", "eth0")
    ]


def test_a_source_that_was_translated_stays_so() -> None:
    probe = Probe(UDP, ip4("10.244.1.2"), ip4("8.8.8.8"), 5353, 53, "cbr0")
    found = trace(read_node(RULES, routes=ROUTES, connections=LINES[3]), probe).report.data["outcomes"]
    assert [each["there"]["source"] for each in found] == ["192.168.51.11:1024"]


@pytest.mark.parametrize(
    "text",
    [
        "udp 17\n",
        "ok\nnot a line\n",
        "udp      17 29 src=1.2.3 dst=1.2.3.4 sport=1 dport=2 src=1.2.3.4 dst=1.2.3.4 sport=2 dport=1\n",
    ],
)
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(InputError) as error:
        connections(text, "file")
    assert error.value.file == "file" and error.value.line is not None
