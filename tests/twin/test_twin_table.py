"""Behaviours of the walk, one a row, each judged by this machine's kernel."""

from __future__ import annotations

import pytest

from twin_rows import BRIEF, ECHO, HOSTNET, MANY, NODEPORT_UDP, SINK, np, ping, send, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

ROWS: dict[str, dict[str, str]] = {
    "udp-service": {"steps": udp("svc/web:53") + udp("svc/web:53", connected="false")},
    "udp-closed": {"steps": udp("default/web:99") + udp("default/web:99", connected="false")},
    "udp-noreply": {"steps": udp("default/sink:9", reply="false"), "more": SINK},
    "tcp-sink": {"steps": tcp("default/sink:9", timeout="2500ms"), "more": SINK},
    "udp-fragments": {"steps": udp("default/echo:7", send="y" * 4000), "more": ECHO},
    "udp-fragments-same-node": {"steps": udp("default/web:53", send="y" * 4000), "node": "node-1"},
    # the datagram would fit lo; DNAT sends it to a link where it must be cut, and its socket allows that
    "udp-cut-behind-nodeport": {
        "steps": udp("node/node-1:30053", send="y" * 3000, frm="node/node-1"),
        "more": NODEPORT_UDP,
    },
    "ping-fragments": {"steps": ping("default/web", size=3000)},
    "ping-sizes": {
        "steps": ping("default/web", size=0)
        + ping("default/web", size=1)
        + ping("default/web", size=1472)
        + ping("default/web", size=1473)
    },
    "ping-count": {"steps": ping("default/web", count=3, interval="0.2")},
    "tcp-empty": {"steps": tcp("default/echo:7", send=""), "more": ECHO},
    "tcp-open": {
        "steps": tcp("default/echo:7", send="abc", close="false") + tcp("default/echo:7", send="abc"),
        "more": ECHO,
    },
    "many-endpoints": {"steps": tcp("svc/many:80") * 4, "more": MANY},
    "nodeport-external": {
        "steps": tcp("node/node-1:30080", frm="external") + tcp("node/node-2:30080", frm="external"),
        "more": np(),
    },
    "nodeport-local": {
        "steps": tcp("node/node-1:30080", frm="external", timeout="500ms") + tcp("node/node-2:30080", frm="external"),
        "more": np("externalTrafficPolicy: Local"),
    },
    "nodeport-from-pod": {"steps": tcp("node/node-1:30080") + tcp("node/node-2:30080"), "more": np()},
    "nodeport-from-node": {
        "steps": tcp("node/node-1:30080", frm="node/node-1") + tcp("127.0.0.1:30080", frm="node/node-1"),
        "more": np(),
    },
    "affinity": {
        "steps": tcp("svc/aff:80") * 3,
        "more": MANY.replace("name: many}\nspec: {cl", "name: aff}\nspec: {sessionAffinity: ClientIP, cl"),
    },
    "hostnet": {"steps": tcp("svc/hostsvc:80") + tcp("node/node-2:9090"), "more": HOSTNET},
    "node-to-svc": {"steps": tcp("svc/web:80", frm="node/node-1") + tcp("svc/web:80", frm="node/node-2")},
    "node-to-pod": {"steps": ping("default/web", frm="node/node-1") + tcp("default/web:8080", frm="node/node-2")},
    "pod-to-node": {"steps": ping("node/node-1") + ping("node/node-2") + tcp("node/node-2:1")},
    "external-to-pod": {"steps": ping("default/web", frm="external") + tcp("default/web:8080", frm="external")},
    "pod-to-external": {"steps": tcp("external:80") + ping("external") + udp("external:53")},
    "masq-all": {"steps": tcp("svc/web:80"), "cluster": "{nodes: 2, kubeProxy: {iptables: {masqueradeAll: true}}}"},
    "switched": {
        "steps": tcp("svc/web:80") + ping("external") + ping("default/web"),
        "cluster": "{nodes: 2, underlay: switched}",
    },
    "three-nodes": {"steps": tcp("svc/many:80") * 3, "more": MANY, "cluster": "{nodes: 3, underlay: switched}"},
    "same-node": {"steps": tcp("svc/web:80") + ping("default/web") + udp("default/web:53"), "node": "node-1"},
    "nf0": {"steps": tcp("svc/web:80"), "cluster": "{nodes: 2, sysctls: {net.bridge.bridge-nf-call-iptables: 0}}"},
    "rp-filter": {
        "steps": tcp("svc/web:80") + ping("external"),
        "cluster": "{nodes: 2, sysctls: {net.ipv4.conf.all.rp_filter: 1}}",
    },
    "no-forward": {"steps": ping("default/web"), "cluster": "{nodes: 2, sysctls: {net.ipv4.ip_forward: 0}}"},
    "ttl-32": {
        "steps": tcp("svc/web:80", frm="node/node-1") + ping("default/web", frm="node/node-1"),
        "cluster": "{nodes: 2, sysctls: {net.ipv4.ip_default_ttl: 32}}",
    },
    "no-timestamps": {
        "steps": tcp("svc/web:80", frm="node/node-1"),
        "cluster": "{nodes: 2, sysctls: {net.ipv4.tcp_timestamps: 0, net.ipv4.tcp_sack: 0, net.ipv4.tcp_window_scaling: 0}}",
    },
    "echo-ignored": {
        "steps": ping("node/node-2"),
        "cluster": "{nodes: 2, sysctls: {net.ipv4.icmp_echo_ignore_all: 1}}",
    },
    "cutting-allowed": {
        "steps": tcp("node/node-2:9090", frm="node/node-1")
        + tcp("node/node-2:9091", frm="node/node-1")
        + udp("node/node-2:9", frm="node/node-1")
        + ping("node/node-2", frm="node/node-1")
        + "- link: {node: node-2, mtu: 1300}\n"
        + udp("default/echo:7", send="u" * 1400, frm="node/node-1")
        + tcp("default/echo:7", send="t" * 1400, frm="node/node-1"),
        "more": HOSTNET + "---\n" + ECHO,
        "cluster": "{nodes: 2, sysctls: {net.ipv4.ip_no_pmtu_disc: 1}}",
    },
    "send-ttl1": {
        "steps": send("IP(dst='10.244.2.2', ttl=1)/UDP(sport=5, dport=53)/'x'")
        + send("IP(dst='10.244.2.2', ttl=2)/ICMP(id=3)")
        + send("IP(dst='10.244.2.2', ttl=3)/ICMP(id=3)")
    },
    "send-proto": {"steps": send("IP(dst='10.244.2.2', proto=99)/'abc'")},
    "send-syn": {"steps": send("IP(dst='10.244.2.2')/TCP(sport=4444, dport=8080, flags='S')")},
    "send-ack": {"steps": send("IP(dst='10.244.2.2')/TCP(sport=4444, dport=8080, flags='A', seq=5, ack=9)")},
    "send-badsum": {"steps": send("IP(dst='10.244.2.2')/UDP(sport=44, dport=53, chksum=1)/'abc'")},
    "send-arp": {"steps": send("ARP(op='who-has', pdst='10.244.1.1')")},
    "send-spoof": {"steps": send("IP(src='1.2.3.4', dst='10.244.2.2')/UDP(sport=44, dport=53)/'abc'")},
    "send-ether": {"steps": send("Ether(dst='02:00:00:00:00:99')/IP(src='10.244.1.2', dst='10.244.2.2')/ICMP(id=5)")},
    "absent-same-subnet": {"steps": ping("10.244.1.99") + tcp("10.244.1.98:80", timeout="5s")},
    "absent-other-node": {"steps": ping("10.244.2.99")},
    "unreachable-service": {"steps": ping("10.96.0.10") + ping("10.96.9.9")},
    "localhost": {
        "steps": tcp("127.0.0.1:8080", frm="default/web")
        + tcp("default/web:8080", frm="default/web")
        + ping("127.0.0.1")
        + udp("127.0.0.1:9")
    },
    "time-wait": {
        "steps": tcp("default/web:8080", port=5000)
        + tcp("default/web:8080", port=5000)
        + tcp("default/echo:7", send="q", port=5001) * 2,
        "more": ECHO,
    },
    "scale": {
        "steps": tcp("svc/many:80")
        + "- scale: {deployment/many: 2}\n"
        + tcp("svc/many:80") * 2
        + "- scale: {deployment/many: 0}\n"
        + tcp("svc/many:80")
        + "- scale: {deployment/many: 3}\n"
        + tcp("svc/many:80"),
        "more": BRIEF,
    },
    "wait": {"steps": ping("default/web") + "- wait: 7s\n" + ping("default/web") + tcp("svc/web:80")},
    "same-source-port": {"steps": tcp("svc/web:80", port=6000) + tcp("default/web:8080", port=6000)},
    "hairpin": {"steps": tcp("svc/web:80", frm="default/web"), "cluster": "{nodes: 2, hairpin: true}"},
    "one-node": {"steps": tcp("svc/web:80"), "cluster": "{nodes: 1}", "node": "node-1"},
    "proxy-arp": {
        "steps": tcp("default/web:8080") + tcp("default/client:99", frm="default/web"),
        "cluster": "{nodes: 2, network: flat, underlay: switched}",
    },
    "bridge-mtu-follows-its-ports": {
        "steps": "- link: {pod: default/client, mtu: 1300}\n"
        + udp("default/echo:7", send="z" * 3000)
        + ping("default/echo", size=1400, frm="node/node-1")
        + ping("default/client", size=1400, frm="external"),
        "more": ECHO,
    },
    # the node's bridge has no port, so that the datagram is routed in a circle; a redirect does not change the socket
    "redirect-is-no-error": {
        "steps": udp("10.244.1.99:7", send="r" * 3000, frm="node/node-2", connected="false", timeout="1s"),
        "cluster": "{nodes: 3, underlay: switched}",
        "pods": "\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: node-3, containers: [{name: p}]}\n",
    },
    # proxies let the handshake wait, so that the way is long: two segments a buffer, whatever the window allows
    "stream-over-a-slow-proxy": {
        "steps": tcp("default/echo:7", send="v" * 12000, timeout="6s"),
        "cluster": "{nodes: 2, network: flat}",
        "more": ECHO,
    },
    "to-all-hosts": {"steps": send("IP(dst='255.255.255.255')/UDP(sport=5, dport=53)/'x'")},
    "last-port-of-a-bridge": {
        "steps": ping("default/echo")
        + "- delete: pod/echo\n"
        + ping("node/node-1", frm="node/node-2")
        + ping("10.244.2.2"),
        "node": "node-1",
        "more": ECHO.replace("nodeName", "terminationGracePeriodSeconds: 0, nodeName"),
    },
    "bridge-without-ports": {
        "steps": ping("10.244.2.99") + ping("10.244.2.1"),
        "cluster": "{nodes: 2, network: flat, underlay: switched}",
        "node": "node-1",
    },
    "windows-on-lo": {
        "steps": tcp("default/echo:7", send="v" * 1300, frm="default/echo")
        + tcp("default/echo:7", send="v" * 4000, frm="default/echo"),
        "more": ECHO,
    },
    # more than an initial window; the network loses each row's frames after a warm-up
    "stream": {"steps": tcp("default/echo:7", send="v" * 20000), "more": ECHO},
    **{
        f"stream-{name}-lost": {
            "steps": ping("default/echo") * 2
            + f"- link: {{node: node-1, lose: {lost}}}\n"
            + tcp("default/echo:7", send="v" * size, timeout="9s"),
            "more": ECHO,
        }
        for name, lost, size in (
            ("syn", [0], 20000),
            ("syns", [0, 1], 2896),
            ("ack", [1], 20000),
        )
    },
    # two timers are due in one slot of the kernel's wheel: that of the SYN, and, started later, that of the SYN-ACK
    **{
        f"stream-{len(lost)}-syn-acks-lost": {
            "steps": ping("default/echo") * 2
            + f"- link: {{node: node-2, lose: {lost}}}\n"
            + tcp("default/echo:7", send="v" * 2896, timeout="9s"),
            "more": ECHO,
        }
        for lost in ([0], [0, 1])
    },
    **{
        f"stream-narrowed-to-{mtu}-at-{where.split()[1]}": {
            "steps": f"- link: {{{where}, mtu: {mtu}}}\n" + tcp("default/echo:7", send="v" * size),
            "more": ECHO,
        }
        for where, mtu, size in (
            ("node: node-2", 1300, 1448),
            ("node: node-2", 1400, 20000),
            ("node: node-1", 600, 8000),
            ("pod: default/echo", 1300, 4000),
            ("pod: default/client", 9000, 1448),
        )
    },
    "big-udp-service": {"steps": udp("svc/web:53", send="w" * 3000)},
}


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(scenario(**ROWS[name]), "table")
