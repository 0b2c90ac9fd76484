"""Recorded cases of what a path does to packets: its MTU, redirects, fragments, policy rules, and rarer targets of NAT.

`ladder_cases` puts them with the others.
"""

from __future__ import annotations

from ladder_drive import DNS, MS, P2, P3, WEB, ping, tcp, to, udp, udp_refused, udp_unheard
from ladder_steps import (
    CBR0,
    EXT,
    N1,
    N2,
    NF0,
    REMOTE,
    ROUTED,
    SAME,
    Case,
    pieces,
    ping_large,
    serve,
    step,
    tcp_large,
    tcp_server_large,
    udp_sizes,
    udp_too_large,
)

P1, P4 = "10.244.1.11", "10.244.2.14"
NARROW = {("n1", "eth0"): 1450, ("sw", "n1"): 1450, ("n2", "eth0"): 1450, ("sw", "n2"): 1450}
SOON = {(name, "net.ipv4.ipfrag_time"): "1" for name in ("n1", "p1", "p2")}

# pieces of 3008 bytes, as (offset, length, more)
EQUAL = ((0, 1480, True), (1480, 1480, True), (2960, 48, False))
UNEVEN = ((0, 1480, True), (1480, 800, True), (2280, 728, False))
SMALL = ((0, 1000, True), (1000, 1000, True), (2000, 1008, False))
TWICE = (EQUAL[0], EQUAL[1], EQUAL[1], EQUAL[2])
OVERLAPPING = (EQUAL[0], (1472, 1480, True), (2952, 56, False))
ODD = ((0, 1480, True), (1480, 1477, True), (2960, 48, False))
TWO_ENDS = (EQUAL[0], (1480, 800, False), EQUAL[1], EQUAL[2])

PATHS: dict[str, Case] = {
    "path_mtu": Case(
        REMOTE,
        (
            step("tcp finds it out", tcp_large, to("p1", (P3, 8080), 40001, server="p3", size=4380), cold=True),
            step("the next connection knows", tcp_large, to("p1", (P3, 8080), 40002, server="p3", size=5000)),
            step("udp knows", udp_unheard, to("p1", (P3, 5353), 40053, size=1460)),
            step("the server writes much", tcp_server_large, to("p1", (P3, 8080), 40003, server="p3", size=5000)),
            step("ping, cut", ping_large, to("p1", P3, sizes=(1422, 1423, 4000))),
            step("ping -M do", ping_large, to("p1", P3, sizes=(1422, 1423, 4000), whole=True)),
            step("Service, tcp", tcp_large, to("p1", WEB, 40004, server="p3", size=5840)),
            step("Service, tcp again", tcp_large, to("p1", WEB, 40005, server="p3", size=5000)),
            step("Service, udp connected", udp_too_large, to("p1", DNS, 40054, sizes=(1460, 1460, 1460))),
            step("p4, ping loses one", ping_large, to("p1", P4, sizes=(1460, 1460))),
            step("p4, ping -M do", ping_large, to("p1", P4, sizes=(1460,), whole=True)),
        ),
        mtus=NARROW,
        also=(
            ("p1", f"route get {P3}"),
            ("p1", "route get 10.96.0.10"),
            ("p1", f"route get {P4}"),
            ("p3", "route get 10.244.1.11"),
            ("n1", f"route get {P3}"),
        ),
    ),
    "path_mtu_by_ping": Case(
        REMOTE,
        (step("ping -M do finds it out", ping_large, to("p1", P4, sizes=(1460, 1460), whole=True), cold=True),),
        mtus=NARROW,
        also=(("p1", f"route get {P4}"),),
    ),
    "path_mtu_expires": Case(
        REMOTE,
        (
            step("udp, lost", udp_unheard, to("p1", (P3, 5353), 40053, size=1460), cold=True, pause_ns=500 * MS),
            step("udp, cut", udp_unheard, to("p1", (P3, 5353), 40053, size=1460), pause_ns=3100 * MS),
            step("udp, lost again", udp_unheard, to("p1", (P3, 5353), 40053, size=1460)),
        ),
        mtus=NARROW,
        sysctls={("p1", "net.ipv4.route.mtu_expires"): "2"},
    ),
    "path_mtu_tiny": Case(
        REMOTE,
        (
            step("tcp", tcp_large, to("p1", (P3, 8080), 40001, server="p3", size=2000), cold=True),
            step("udp", udp_unheard, to("p1", (P3, 5353), 40053, size=540)),
            step("ping", ping_large, to("p1", P3, sizes=(500, 530, 600))),
            step("ping -M do", ping_large, to("p1", P3, sizes=(500, 530), whole=True)),
            step("tcp again", tcp_large, to("p1", (P3, 8080), 40002, server="p3", size=2000)),
        ),
        mtus=dict.fromkeys(NARROW, 500),
        also=(("p1", f"route get {P3}"),),
    ),
    "path_mtu_of_a_router": Case(
        REMOTE,
        (
            step("the node finds it out", ping_large, to("n1", EXT, sizes=(1460, 1460)), cold=True),
            step("a pod's packets are not cut by it", ping_large, to("p1", EXT, sizes=(1390, 3000))),
            step("a pod finds it out", ping_large, to("p1", EXT, sizes=(1460, 1460))),
        ),
        mtus={("gw", "ext"): 1400, ("ext", "eth0"): 1400},
        also=(("p1", f"route get {EXT}"), ("n1", f"route get {EXT}")),
    ),
    "redirects": Case(
        REMOTE,
        (
            step("a router that ignores redirects", ping, to("n2", P1, count=12, interval_ns=100 * MS), cold=True),
            step("the other way round", ping, to("p1", N2, count=2, interval_ns=200 * MS)),
        ),
        routes={
            "n2": ["10.244.1.0/24 via 192.168.50.1 dev eth0"],
            "gw": ["10.244.1.0/24 via 192.168.50.11 dev eth0"],
        },
    ),
    "redirects_and_nat": Case(
        REMOTE,
        (
            step("ping", ping, to("n2", "10.9.9.9", count=3), cold=True),
            step("tcp", tcp, to("n2", ("10.9.9.9", 80), 40001, timeout_ns=1500 * MS)),
            step("a translated flow", ping, to("n2", EXT, count=3, interval_ns=200 * MS)),
        ),
        routes={
            "n1": ["default via 192.168.50.1 dev eth0"],
            "n2": ["default via 192.168.50.11 dev eth0"],
        },
    ),
    "redirects_taken": Case(
        REMOTE,
        (
            step("ping", ping, to("n2", P1, count=4, interval_ns=200 * MS), cold=True),
            step("tcp", tcp, to("n2", (P1, 81), 40001)),
            step("another pod: the gateway is known", ping, to("n2", P2, count=2, interval_ns=200 * MS)),
            step("a forwarded packet follows it", ping, to("p3", P2)),
        ),
        routes={
            "n2": ["10.244.1.0/24 via 192.168.50.1 dev eth0"],
            "gw": ["10.244.1.0/24 via 192.168.50.11 dev eth0"],
        },
        sysctls={("n2", "net.ipv4.conf.all.accept_redirects"): "1"},
        also=(("n2", f"route get {P1}"), ("n2", f"route get {P2}")),
    ),
    "redirects_by_a_pod": Case(
        ROUTED,
        (
            step("ping", ping, to("p1", "192.168.51.1", count=4, interval_ns=200 * MS), cold=True, pause_ns=200 * MS),
            step("udp", udp_unheard, to("p1", (P3, 5353), 40053, size=5), pause_ns=200 * MS),
            step("udp again", udp_unheard, to("p1", (P3, 5353), 40053, size=5), pause_ns=200 * MS),
            step("udp a third time", udp_unheard, to("p1", (P3, 5353), 40053, size=5)),
        ),
        routes={"p1": [f"default via {P2} dev eth0"]},
        sysctls={("p2", "net.ipv4.ip_forward"): "1"},
        also=(("p1", "route get 192.168.51.1"), ("p1", f"route get {P3}")),
    ),
    "redirects_unshared_media": Case(
        REMOTE,
        (
            step("not a gateway yet", ping, to("n2", P1, count=3, interval_ns=200 * MS), cold=True),
            step("a gateway of another route", ping, to("n2", P2, count=3, interval_ns=200 * MS)),
        ),
        routes={
            "n2": ["10.244.1.0/24 via 192.168.50.1 dev eth0", "10.99.0.0/16 via 192.168.50.11 dev eth0"],
            "gw": ["10.244.1.0/24 via 192.168.50.11 dev eth0"],
        },
        sysctls={
            ("n2", "net.ipv4.conf.all.accept_redirects"): "1",
            ("n2", "net.ipv4.conf.all.shared_media"): "0",
            ("n2", "net.ipv4.conf.eth0.shared_media"): "0",
        },
        also=(("n2", f"route get {P1}"), ("n2", f"route get {P2}")),
    ),
    "pieces_bridged": Case(
        SAME,
        (
            step("equal", pieces, to("p1", (P2, 5353), source=P1, parts=EQUAL), cold=True),
            step("uneven", pieces, to("p1", (P2, 5353), source=P1, parts=UNEVEN)),
            step("backwards", pieces, to("p1", (P2, 5353), source=P1, parts=EQUAL[::-1])),
            step("one twice", pieces, to("p1", (P2, 5353), source=P1, parts=TWICE)),
            step("overlapping", pieces, to("p1", (P2, 5353), source=P1, parts=OVERLAPPING)),
            step("not to be cut", pieces, to("p1", (P2, 5353), source=P1, parts=EQUAL, flags=0x4000)),
            step("closed port", pieces, to("p1", (P2, 54), source=P1, parts=EQUAL)),
            step("Service", pieces, to("p1", DNS, source=P1, parts=UNEVEN)),
            step("large pings", ping_large, to("p1", P2, sizes=(1472, 1473, 4000))),
        ),
        sysctls=SOON,
    ),
    "pieces_missing": Case(
        SAME,
        (
            step("the first", pieces, to("p1", (P2, 5353), source=P1, parts=EQUAL[1:], wait_ns=1500 * MS), cold=True),
            step("the last", pieces, to("p1", (P2, 5353), source=P1, parts=EQUAL[:-1], wait_ns=1500 * MS)),
            step("some bytes", pieces, to("p1", (P2, 5353), source=P1, parts=ODD, wait_ns=1500 * MS)),
            step(
                "the last, for the node", pieces, to("p1", (N1, 5353), source=P1, parts=EQUAL[:-1], wait_ns=1500 * MS)
            ),
            step(
                "the last, for the bridge",
                pieces,
                to("p1", (CBR0, 5353), source=P1, parts=EQUAL[:-1], wait_ns=1500 * MS),
            ),
        ),
        sysctls=SOON,
    ),
    "pieces_untracked": Case(
        NF0,
        (
            step("equal", pieces, to("p1", (P2, 5353), source=P1, parts=EQUAL), cold=True),
            step("one twice", pieces, to("p1", (P2, 5353), source=P1, parts=TWICE)),
            step("overlapping", pieces, to("p1", (P2, 5353), source=P1, parts=OVERLAPPING)),
            step("the first is missing", pieces, to("p1", (P2, 5353), source=P1, parts=EQUAL[1:], wait_ns=1500 * MS)),
            step("the last is missing", pieces, to("p1", (P2, 5353), source=P1, parts=EQUAL[:-1], wait_ns=1500 * MS)),
            step("an empty one", pieces, to("p1", (P2, 5353), source=P1, parts=((0, 0, True), *EQUAL))),
            step("two ends", pieces, to("p1", (P2, 5353), source=P1, parts=TWO_ENDS)),
        ),
        sysctls=SOON,
    ),
    "pieces_routed": Case(
        REMOTE,
        (
            step("equal", pieces, to("p1", (P3, 5353), source=P1, parts=EQUAL), cold=True),
            step("uneven", pieces, to("p1", (P3, 5353), source=P1, parts=UNEVEN)),
            step("small", pieces, to("p1", (P3, 5353), source=P1, parts=SMALL)),
            step("not to be cut", pieces, to("p1", (P3, 5353), source=P1, parts=EQUAL, flags=0x4000)),
            step("one twice", pieces, to("p1", (P3, 5353), source=P1, parts=TWICE)),
            step("overlapping", pieces, to("p1", (P3, 5353), source=P1, parts=OVERLAPPING)),
            step("Service", pieces, to("p1", DNS, source=P1, parts=SMALL)),
        ),
    ),
    "pings_in_pieces": Case(
        REMOTE,
        (
            step("large pings", ping_large, to("p1", P3, sizes=(1473, 4000)), cold=True),
            step("large pings outside", ping_large, to("p1", EXT, sizes=(1473, 4000))),
            step("large pings by the node", ping_large, to("n1", P3, sizes=(1473, 4000))),
            step("large pings to the node", ping_large, to("p1", N1, sizes=(1473, 4000))),
            step("the node's datagrams to a Service", udp_sizes, to("n1", DNS, 40060, server="p3", size=4000)),
        ),
    ),
    "pieces_for_a_narrow_link": Case(
        REMOTE,
        (
            step("equal", pieces, to("p1", (P3, 5353), source=P1, parts=EQUAL), cold=True),
            step("uneven", pieces, to("p1", (P3, 5353), source=P1, parts=UNEVEN)),
            step("small", pieces, to("p1", (P3, 5353), source=P1, parts=SMALL)),
            step("not to be cut", pieces, to("p1", (P3, 5353), source=P1, parts=EQUAL, flags=0x4000)),
            step("small, not to be cut", pieces, to("p1", (P3, 5353), source=P1, parts=SMALL, flags=0x4000)),
            step("large pings", ping_large, to("p1", P3, sizes=(4000,))),
        ),
        mtus=NARROW,
        sysctls=SOON,
    ),
    "policy": Case(
        REMOTE,
        (
            step("a source of its own", ping, to("p1", P3), cold=True),
            step("another source", ping, to("p2", P3)),
            step("by mark", udp, to("p2", (P3, 5353), 40053, server="p3")),
            step("by mark, the node's own", udp, to("n1", (P3, 5353), 40054, server="p3")),
            step("by interface", ping, to("p4", P2)),
            step("to a destination", tcp, to("p2", (EXT, 81), 40001)),
            step("Service", tcp, to("p1", WEB, 40002, server="p3")),
        ),
        routes={
            "n1": [
                "default via 192.168.50.1 dev eth0",
                "10.244.2.0/24 via 192.168.50.12 dev eth0",
                "default via 192.168.50.1 dev eth0 table 100",
                "default via 192.168.50.12 dev eth0 table 200",
            ],
            "n2": [
                "default via 192.168.50.1 dev eth0",
                "10.244.1.0/24 via 192.168.50.11 dev eth0",
                "unreachable 10.244.1.0/24 table 300",
            ],
            "gw": ["10.244.1.0/24 via 192.168.50.11 dev eth0", "10.244.2.0/24 via 192.168.50.12 dev eth0"],
        },
        policy={
            "n1": [
                "from 10.244.1.11 lookup 100",
                "fwmark 0x10/0xff lookup 100",
                "to 203.0.113.0/24 lookup 200 priority 1000",
            ],
            "n2": ["from 10.244.2.14 iif cbr0 lookup 300"],
        },
        rules={
            ("n1", "mangle"): (
                ":PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
                "-A PREROUTING -i cbr0 -p udp -j MARK --set-xmark 0x10/0xff\n-A OUTPUT -p udp -j MARK --set-xmark 0x10/0xff\n"
            )
        },
        also=(("n1", "rule"), ("n2", "rule")),
    ),
    "redirect_and_netmap": Case(
        REMOTE,
        (
            step("REDIRECT of a pod's", serve, to("p1", (EXT, 8181), 40001, server="n1", local=8099), cold=True),
            step("REDIRECT of the node's own", serve, to("n1", (EXT, 8182), 40002, server="n1", local=8099)),
            step("NETMAP", tcp, to("p1", ("10.77.2.13", 8080), 40003, server="p3")),
            step("NETMAP, udp", udp, to("p1", ("10.77.2.13", 5353), 40053, server="p3")),
            step("NETMAP, ping", ping, to("p1", "10.77.2.13")),
            step("NETMAP of sources", tcp, to("p2", (P3, 8080), 40004, server="p3")),
            step("NETMAP by the node", ping, to("n1", "10.77.2.13")),
        ),
        rules={
            ("n1", "nat"): (
                "-A PREROUTING -p tcp -m tcp --dport 8181 -j REDIRECT --to-ports 8099\n"
                "-A OUTPUT -p tcp -m tcp --dport 8182 -j REDIRECT --to-ports 8099\n"
                "-A PREROUTING -d 10.77.2.0/24 -j NETMAP --to 10.244.2.0/24\n"
                "-A OUTPUT -d 10.77.2.0/24 -j NETMAP --to 10.244.2.0/24\n"
                "-A POSTROUTING -s 10.244.1.12/32 -o eth0 -j NETMAP --to 10.77.1.0/24\n"
            )
        },
        routes={
            "n1": ["default via 192.168.50.1 dev eth0", "10.244.2.0/24 via 192.168.50.12 dev eth0"],
            "n2": [
                "default via 192.168.50.1 dev eth0",
                "10.244.1.0/24 via 192.168.50.11 dev eth0",
                "10.77.1.0/24 via 192.168.50.11 dev eth0",
            ],
        },
    ),
    "offload": Case(
        REMOTE,
        (
            step("tcp", tcp, to("p1", (P3, 8080), 40001, server="p3"), cold=True),
            step("Service, tcp", tcp, to("p1", WEB, 40002, server="p3")),
            step("Service, udp", udp, to("p1", DNS, 40053, server="p3")),
            step("refused", udp_refused, to("p1", (P3, 54), 40054)),
            step("large datagrams", udp_sizes, to("p1", DNS, 40055, server="p3", size=3000)),
            step("ping", ping, to("p1", P3)),
            step("much at once", tcp_large, to("p1", WEB, 40003, server="p3", size=7400)),
            step("a closed port", tcp, to("p1", (P3, 81), 40004)),
        ),
        offload=True,
    ),
    "offload_same_node": Case(
        SAME,
        (
            step("tcp", tcp, to("p1", WEB, 40001, server="p2"), cold=True),
            step("much at once", tcp_large, to("p1", (P2, 8080), 40002, server="p2", size=7400)),
            step("an answer of much", tcp_server_large, to("p1", WEB, 40003, server="p2", size=7400)),
            step("udp", udp, to("p1", DNS, 40053, server="p2")),
        ),
        offload=True,
    ),
    "default_profile": Case(
        REMOTE,
        (
            step("tcp", tcp, to("p1", WEB, 40001, server="p3"), cold=True),
            step("much at once", tcp_large, to("p1", WEB, 40002, server="p3", size=7400)),
            step("an answer of much", tcp_server_large, to("p1", WEB, 40003, server="p3", size=7400)),
            step("node to Service", tcp, to("n1", WEB, 40004, server="p3")),
        ),
        sysctls={(name, "net.ipv4.tcp_timestamps"): "1" for name in ("p1", "p3", "n1")},
        offload=True,
    ),
    "default_profile_cut": Case(
        REMOTE,
        (
            step("much at once", tcp_large, to("p1", WEB, 40002, server="p3", size=7400), cold=True),
            step("an answer of much", tcp_server_large, to("p1", WEB, 40003, server="p3", size=7400)),
        ),
        sysctls={(name, "net.ipv4.tcp_timestamps"): "1" for name in ("p1", "p3", "n1")},
    ),
}
