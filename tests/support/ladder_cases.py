"""More steps than the seven ladders have, for the same topologies with a change or two.

What a kernel did in them is in `tests/reference/recorded`, written by `python tests/support/ladder_record.py` (root).
"""

from __future__ import annotations

from pathlib import Path

from ladder_drive import DNS, MS, P2, P3, SECOND, WEB, ping, tcp, to, udp, udp_refused, udp_unheard
from ladder_paths import PATHS
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
    step,
    tcp_after_flush,
    tcp_large,
    tcp_lost,
    tcp_queue,
    tcp_requests,
    tcp_server_closes,
    tcp_unread,
    udp_long,
    udp_sizes,
)

FOLDER = Path(__file__).parents[1] / "reference" / "recorded"

CASES: dict[str, Case] = {
    "hairpin_off": Case(
        SAME,
        (
            step("a pod's own Service, tcp", tcp, to("p2", WEB, 40001, timeout_ns=1500 * MS), cold=True),
            step("a pod's own Service, udp", udp_unheard, to("p2", DNS, 40053, size=4)),
        ),
        hairpin=False,
    ),
    "hairpin_on": Case(
        SAME,
        (
            step("a pod's own Service, tcp", tcp, to("p2", WEB, 40001, server="p2"), cold=True),
            step("a pod's own Service, udp", udp, to("p2", DNS, 40053, server="p2")),
            step("another pod's Service", tcp, to("p1", WEB, 40002, server="p2")),
        ),
        hairpin=True,
    ),
    "hairpin_nf0": Case(
        NF0, (step("a pod's own Service, tcp", tcp, to("p2", WEB, 40001, server="p2"), cold=True),), hairpin=False
    ),
    "node_and_local_pod": Case(
        SAME,
        (
            step("node to pod", tcp, to("n1", (P2, 8080), 40001, server="p2"), cold=True),
            step("node to Service, tcp", tcp, to("n1", WEB, 40002, server="p2")),
            step("node to Service, udp", udp, to("n1", DNS, 40053, server="p2")),
            step("pod to its node", ping, to("p1", N1)),
            step("pod to its bridge", ping, to("p1", CBR0)),
            step("pod to a closed port of its node", tcp, to("p1", (N1, 81), 40003)),
            step("node to a closed port of its own", tcp, to("n1", (N1, 81), 40004)),
            step("node to itself", ping, to("n1", "127.0.0.1")),
            step("pod to itself", ping, to("p1", "10.244.1.11")),
        ),
    ),
    "node_and_remote_pod": Case(
        REMOTE,
        (
            step("node to pod", tcp, to("n1", (P3, 8080), 40001, server="p3"), cold=True),
            step("node to Service, tcp", tcp, to("n1", WEB, 40002, server="p3")),
            step("node to Service, udp", udp, to("n1", DNS, 40053, server="p3")),
            step("pod to the other node", ping, to("p1", N2)),
            step("pod to the other node's bridge", ping, to("p1", "10.244.2.1")),
            step("pod to a closed port of the other node", tcp, to("p1", (N2, 81), 40003)),
            step("the endpoint's node to Service", tcp, to("n2", WEB, 40004, server="p3")),
        ),
    ),
    "egress": Case(
        REMOTE,
        (
            step("ping outside", ping, to("p1", EXT), cold=True),
            step("closed tcp port outside", tcp, to("p1", (EXT, 81), 40001)),
            step("closed udp port outside", udp_refused, to("p1", (EXT, 54), 40053)),
            step("ping outside from the other node", ping, to("p3", EXT)),
            step("outside to a pod: no route", ping, to("ext", "10.244.1.11")),
            step("node pings outside", ping, to("n1", EXT)),
        ),
    ),
    "absent": Case(
        REMOTE,
        (
            step("ping an absent neighbour", ping, to("p1", "10.244.1.77"), cold=True, pause_ns=4 * SECOND),
            step("tcp to an absent neighbour", tcp, to("p1", ("10.244.1.78", 80), 40001, timeout_ns=6 * SECOND)),
            step("ping an absent pod of the other node", ping, to("p1", "10.244.2.77"), pause_ns=4 * SECOND),
            step(
                "udp to an absent neighbour",
                udp_unheard,
                to("p1", ("10.244.1.79", 80), 40053, size=3),
                pause_ns=4 * SECOND,
            ),
        ),
    ),
    "fragments_same_node": Case(
        SAME,
        (
            step("pod", udp_sizes, to("p1", (P2, 5353), 40053, server="p2", size=3000), cold=True),
            step("Service", udp_sizes, to("p1", DNS, 40054, server="p2", size=3000)),
            step("closed port", udp_unheard, to("p1", (P2, 54), 40055, size=3000)),
            step("the largest that fits", udp_sizes, to("p1", (P2, 5353), 40056, server="p2", size=1472)),
            step("a byte too large", udp_sizes, to("p1", (P2, 5353), 40057, server="p2", size=1473)),
        ),
    ),
    "fragments_remote": Case(
        REMOTE,
        (
            step("pod", udp_sizes, to("p1", (P3, 5353), 40053, server="p3", size=3000), cold=True),
            step("Service", udp_sizes, to("p1", DNS, 40054, server="p3", size=3000)),
            step("closed port", udp_unheard, to("p1", (P3, 54), 40055, size=3000)),
        ),
    ),
    "narrow_underlay": Case(
        REMOTE,
        (
            step(
                "fragments for the narrow link",
                udp_sizes,
                to("p1", (P3, 5353), 40053, server="p3", size=3000),
                cold=True,
            ),
            step("too large and not to be cut", udp_unheard, to("p1", (P3, 5353), 40054, size=1460), pause_ns=100 * MS),
            step("the same Service, too large", udp_unheard, to("p1", DNS, 40055, size=1460)),
        ),
        mtus={("n1", "eth0"): 1450, ("sw", "n1"): 1450, ("n2", "eth0"): 1450, ("sw", "n2"): 1450},
    ),
    "tcp_forms": Case(
        SAME,
        (
            step("closed with data unread", tcp_unread, to("p1", WEB, 40001, server="p2"), cold=True),
            step("the server closes first", tcp_server_closes, to("p1", WEB, 40002, server="p2")),
            step("several requests", tcp_requests, to("p1", WEB, 40003, server="p2")),
            step("four segments", tcp_large, to("p1", (P2, 8080), 40004, server="p2", size=5000)),
        ),
    ),
    "tcp_lost": Case(
        SAME,
        (
            step(
                "every segment with PSH is lost",
                tcp_lost,
                to("p1", WEB, 40001, server="p2", wait_ns=4500 * MS),
                cold=True,
            ),
        ),
        rules={("n1", "filter"): "-I FORWARD -p tcp -m tcp --dport 8080 --tcp-flags PSH PSH -j DROP\n"},
    ),
    "probes": Case(
        SAME,
        (
            step("tcp", tcp, to("p1", WEB, 40001, server="p2"), cold=True, pause_ns=7 * SECOND),
            step("ping the bridge", ping, to("p1", CBR0), pause_ns=7 * SECOND),
            step("udp", udp, to("p1", DNS, 40053, server="p2"), pause_ns=7 * SECOND),
        ),
    ),
    "udp_stream": Case(
        REMOTE, (step("two exchanges, 2.5 s apart", udp_long, to("p1", DNS, 40053, server="p3"), cold=True),)
    ),
    "reject": Case(
        SAME,
        (
            step("tcp-reset, bridged", tcp, to("p1", (P2, 8081), 40001), cold=True),
            step("admin-prohibited, bridged", tcp, to("p1", (P2, 8082), 40002)),
            step("host-prohibited, bridged", udp_refused, to("p1", (P2, 8083), 40053)),
            step("dropped, bridged", tcp, to("p1", (P2, 8084), 40003, timeout_ns=1500 * MS)),
            step("tcp-reset, routed", tcp, to("p1", (EXT, 8081), 40004)),
            step("tcp-reset, to the node", tcp, to("p1", (N1, 8085), 40005)),
            step("tcp-reset, from the node", tcp, to("n1", (P2, 8086), 40006)),
            step("admin-prohibited, routed", tcp, to("p1", (EXT, 8082), 40007)),
        ),
        rules={
            ("n1", "filter"): (
                "-A FORWARD -p tcp -m tcp --dport 8081 -j REJECT --reject-with tcp-reset\n"
                "-A FORWARD -p tcp -m tcp --dport 8082 -j REJECT --reject-with icmp-admin-prohibited\n"
                "-A FORWARD -p udp -m udp --dport 8083 -j REJECT --reject-with icmp-host-prohibited\n"
                "-A FORWARD -p tcp -m tcp --dport 8084 -j DROP\n"
                "-A INPUT -p tcp -m tcp --dport 8085 -j REJECT --reject-with tcp-reset\n"
                "-A OUTPUT -p tcp -m tcp --dport 8086 -j REJECT --reject-with tcp-reset\n"
            )
        },
    ),
    "node_port": Case(
        REMOTE,
        (
            step("from outside", tcp, to("ext", (N1, 30081), 40001, server="p3"), cold=True),
            step("from a pod", tcp, to("p1", (N1, 30081), 40002, server="p3")),
            step("from the node", tcp, to("n1", (N1, 30081), 40003, server="p3")),
            step("from the node, by 127.0.0.1", tcp, to("n1", ("127.0.0.1", 30081), 40004, timeout_ns=500 * MS)),
            step("unused", tcp, to("ext", (N1, 30099), 40005)),
        ),
        rules={
            ("n1", "nat"): (
                "-A KUBE-NODEPORTS -p tcp -m tcp --dport 30081 -j KUBE-MARK-MASQ\n"
                "-A KUBE-NODEPORTS -p tcp -m tcp --dport 30081 -j KUBE-SEP-533SWYF3GWM7QGTS\n"
            )
        },
    ),
    "timestamps": Case(
        REMOTE,
        (step("tcp with timestamps", tcp, to("p1", WEB, 40001, server="p3"), cold=True),),
        sysctls={("p1", "net.ipv4.tcp_timestamps"): "1", ("p3", "net.ipv4.tcp_timestamps"): "1"},
    ),
    "redirect": Case(
        REMOTE,
        (
            step("ping by way of the gateway", ping, to("p1", P3, count=3, interval_ns=200 * MS), cold=True),
            step("tcp by way of the gateway", tcp, to("p1", (P3, 8080), 40001, server="p3")),
            step("a Service by way of the gateway", tcp, to("p1", WEB, 40002, server="p3")),
        ),
        routes={
            "n1": ["default via 192.168.50.1 dev eth0"],
            "n2": ["default via 192.168.50.1 dev eth0"],
            "gw": ["10.244.1.0/24 via 192.168.50.11 dev eth0", "10.244.2.0/24 via 192.168.50.12 dev eth0"],
        },
    ),
    "syn_lost": Case(
        SAME,
        (step("SYNs for 13 s", tcp, to("p1", (P2, 8084), 40001, timeout_ns=13 * SECOND), cold=True),),
        rules={("n1", "filter"): "-A FORWARD -p tcp -m tcp --dport 8084 -j DROP\n"},
    ),
    "accept_queue": Case(SAME, (step("listen(0)", tcp_queue, to("p1", (P2, 8090), 40001, server="p2"), cold=True),)),
    "entries_lost": Case(
        REMOTE,
        (
            step(
                "the client speaks", tcp_after_flush, to("p1", WEB, 40001, server="p3", server_first=False), cold=True
            ),
            step(
                "the server speaks",
                tcp_after_flush,
                to("p1", WEB, 40002, server="p3", server_first=True, wait_ns=500 * MS),
                cold=True,
            ),
        ),
    ),
    "no_route": Case(
        ROUTED,
        (
            step("to a network that has no route", ping, to("p1", "10.244.7.7"), cold=True),
            step("tcp to a network that has no route", tcp, to("p1", ("10.244.7.7", 80), 40001, timeout_ns=1500 * MS)),
            step("to the router itself", ping, to("p1", "192.168.51.1")),
            step("to the router's far address", ping, to("p1", "192.168.52.1")),
            step("closed port of the router", tcp, to("p1", ("192.168.52.1", 81), 40002)),
            step("node to node", ping, to("n1", "192.168.52.12")),
        ),
    ),
    **PATHS,
}
