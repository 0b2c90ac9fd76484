"""Odd situations that a stranger would try, of all areas, one a row, each judged by this machine's kernel."""

from __future__ import annotations

import pytest

from twin_rows import ECHO, NODEPORT, C, np, ping, send, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

N1, N2, W, OUT = "node/node-1", "node/node-2", "default/web", "external"
T = "1200ms"
CBR0 = "96:c4:b0:a7:83:40"  # the MAC of node-1's bridge


def step(kind: str, where: str, **keys: object) -> str:
    host, _, name = where.partition("/")
    words = ", ".join([f"{host}: {name}", *(f"{key.rstrip('_')}: {value}" for key, value in keys.items())])
    return f"- {kind}: {{{words}}}\n"


def rules(*commands: str, where: str = N1) -> str:
    return step("iptables", where, rules=[*commands])


def route(*texts: str, where: str = N1, verb: str = "add") -> str:
    return step("route", where, **{verb: f"[{', '.join(texts)}]"})


def rule(text: str, where: str = N1) -> str:
    return step("rule", where, add=f"[{text}]")


def conf(name: str, value: int, where: str = N1) -> str:
    return step("sysctl", where, set=f"{{net.ipv4.{name}: {value}}}")


def conntrack(**values: int) -> str:
    pairs = ", ".join(f"net.netfilter.nf_conntrack_{name}: {value}" for name, value in values.items())
    return f"{{nodes: 2, sysctls: {{{pairs}}}}}"


def from_addresses(*sources: str, to: str = "10.244.1.1", what: str = "ICMP(id=3)", mac: str = "") -> str:
    link = f"Ether(dst='{mac}')/" if mac else ""
    return "".join(send(f"{link}IP(src='{source}', dst='{to}')/{what}") for source in sources)


def local(policy: str) -> str:
    return np(f"{policy}: Local")


def from_all(port: int) -> str:
    return "".join(
        tcp(f"node/{node}:{port}", frm=frm, timeout="600ms")
        for node in ("node-1", "node-2")
        for frm in (C, N1, N2, OUT)
    )


CLIENT = "pod/default/client"


def chat(frm: str) -> str:
    return f'- name: chat\n  tcp: {{from: {frm}, to: "default/echo:7", send: hi, close: false}}\n'


def more(send: str, timeout: str = "3s", close: str = "false") -> str:
    return f"- more: {{of: chat, send: {send}, close: {close}, timeout: {timeout}}}\n"


QUOTED = "IP(src='10.244.1.2',dst='10.244.2.2',ttl=62)/UDP(sport=4000,dport=53)/'hello'"
OTHER = """apiVersion: v1
kind: Pod
metadata: {name: other, labels: {app: web}, annotations: {emu/app: "http@8080,echo@53/udp"}}
spec: {nodeName: node-1, terminationGracePeriodSeconds: 0, containers: [{name: c}]}
"""
STICKY = NODEPORT.replace(
    "POLICY", "sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 3}}"
)

ROWS: dict[str, dict[str, str]] = {
    # addresses that are none
    "destination-0.0.0.0": {
        "steps": tcp("0.0.0.0:8080", frm=W)
        + tcp("0.0.0.0:8081", frm=W)
        + udp("0.0.0.0:53", frm=W)
        + udp("0.0.0.0:53", frm=W, connected="false")
        + ping("0.0.0.0", frm=W)
        + tcp("0.0.0.0:30080", frm=N1)
        + "".join(send(f"IP(dst='0.0.0.0')/{what}") for what in ("ICMP(id=3)", "UDP(sport=3,dport=99)")),
        "more": np(),
    },
    "answers-to-a-broadcast-address": {
        "steps": from_addresses("10.244.1.255")
        + from_addresses("10.244.1.255", what="UDP(sport=5,dport=99)/'x'")
        + from_addresses("10.244.1.255", what="TCP(sport=5,dport=99,flags='S')")
        + from_addresses("10.244.1.255", what="TCP(sport=6,dport=8080,flags='S')", to="10.244.1.3")
        + from_addresses("10.244.1.255", what="UDP(sport=5,dport=53)/'x'", to="10.244.1.3"),
        "node": "node-1",
    },
    "sources-behind-a-rule": {
        "steps": rule("fwmark 77 lookup 77 priority 77")
        + from_addresses("10.244.1.255", "10.244.1.1", "99.9.9.9")
        + from_addresses("10.244.1.1", "127.0.0.1", to="10.244.2.2")
    },
    "sources-that-go-back-the-way-they-came": {
        "steps": from_addresses("10.244.1.255", "192.168.51.11", "10.9.9.9", to="10.244.1.3", mac=CBR0),
        "node": "node-1",
    },
    "sources-without-a-route-to-go": {
        "steps": route("default", verb="del_")
        + from_addresses("10.244.1.1", "10.244.1.255", to="9.9.9.9")
        + conf("ip_forward", 0)
        + from_addresses("10.244.1.1", "9.9.9.9", to="10.244.2.2")
    },
    "sources-of-a-limited-broadcast": {
        "steps": from_addresses(
            "10.244.1.1", "127.0.0.9", "0.0.0.0", "10.244.1.255", "192.168.51.11", to="255.255.255.255", what="UDP(sport=5,dport=99)"
        )
    },
    "martian-destinations": {
        "steps": "".join(
            send(f"IP(dst='{dst}')/ICMP(id=3)") for dst in ("127.0.0.5", "240.0.0.1", "10.244.1.255", "10.244.1.0", "10.244.2.255")
        )
    },
    "header-by-a-raw-socket": {
        "steps": "".join(
            send(f"IP(dst='10.244.2.2', {field})/ICMP(id=4)") for field in ("chksum=1", "len=77", "id=0", "src='0.0.0.0'", "flags='evil'")
        )
    },
    "port-0": {
        "steps": send("IP(dst='10.244.2.2')/UDP(sport=0,dport=53)/'x'")
        + send("IP(dst='10.244.2.2')/UDP(sport=5,dport=0)/'x'")
        + send("IP(dst='203.0.113.10')/UDP(sport=0,dport=53)/'x'")
        + send("IP(dst='203.0.113.10')/TCP(sport=0,dport=80,flags='S')")
    },
    # routes
    "local-addresses-of-a-range": {
        "steps": route("local 198.18.0.0/24 dev lo", "198.18.0.7 via 192.168.51.1", "blackhole 198.18.0.9", "broadcast 10.244.1.77 dev cbr0")
        + ping("198.18.0.7")
        + tcp("198.18.0.8:9")
        + udp("198.18.0.10:9")
        + ping("198.18.0.9", frm=N1)
        + from_addresses("198.18.0.5", to="10.244.2.2")
        + send("IP(dst='10.244.1.77')/ICMP(id=3)", frm=N1)
        + rule("fwmark 9 lookup 9 priority 9")
        + ping("198.18.0.7"),
    },
    "local-routes-in-other-tables": {
        "steps": rule("fwmark 9 lookup 9 priority 9, to 198.18.1.0/24 lookup 100 priority 10")
        + route("local 198.18.0.3 dev lo table main", "local 198.18.1.0/24 dev lo table 100")
        + ping("198.18.0.3")
        + udp("198.18.1.3:9", timeout=T)
        + tcp("198.18.1.3:9", timeout=T)
    },
    "types-of-addresses": {
        "steps": route("blackhole 198.18.0.1", "unreachable 198.18.0.2", "prohibit 198.18.0.3", "throw 198.18.0.4")
        + rules(
            *(
                f"-t raw -A PREROUTING -m addrtype --dst-type {kind}"
                for kind in ("UNICAST", "LOCAL", "BROADCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW")
            )
        )
        + "".join(ping(f"198.18.0.{number}") for number in range(1, 5)),
    },
    "failing-routes-and-local-clients": {
        "steps": route("blackhole 10.244.2.2", "prohibit 10.244.2.3", "unreachable 10.244.2.4", "throw 10.244.2.5")
        + ping(W, frm=N1)
        + udp("10.244.2.3:9", frm=N1)
        + tcp("10.244.2.4:9", frm=N1, timeout=T)
        + udp("10.244.2.5:9", frm=N1)
    },
    "two-defaults-and-a-goto": {
        "steps": route("10.244.2.0/24 via 192.168.51.1 table 60", "default via 192.168.51.1 table 60")
        + rule("priority 10 iif cbr0 to 203.0.113.0/24 goto 100, priority 20 blackhole to 203.0.113.0/24, priority 100 nop, lookup 60 suppress_prefixlength 0 priority 60")
        + route("default", verb="del_")
        + ping(W)
        + ping(OUT)
    },
    # neighbours
    "neighbours-by-others-words": {
        "steps": ping(N1)
        + send("Ether(dst='ff:ff:ff:ff:ff:ff')/ARP(op='is-at', psrc='10.244.1.2', pdst='10.244.1.2', hwsrc='02:00:00:00:00:55')")
        + send("Ether(dst='ff:ff:ff:ff:ff:ff')/ARP(op='is-at', psrc='10.244.1.88', pdst='10.244.1.1', hwsrc='02:00:00:00:00:88')")
        + send("Ether(dst='ff:ff:ff:ff:ff:ff')/ARP(op='who-has', psrc='0.0.0.0', pdst='10.244.1.1')")
        + ping(C, frm=N1)
    },
    "a-neighbour-that-is-gone": {
        "steps": ping(C, frm=N1)
        + "- link: {pod: default/client, down: true}\n"
        + conf("neigh.cbr0.delay_first_probe_time", 1)
        + conf("neigh.cbr0.retrans_time_ms", 300)
        + conf("neigh.cbr0.mcast_solicit", 1)
        + ping(C, frm=N1, count=3)
    },
    # NAT
    "ports-and-networks-mapped": {
        "steps": rules(
            "-t nat -A PREROUTING -d 198.18.9.9 -p tcp -j DNAT --to-destination 10.244.2.2:8080-8082",
            "-t nat -A PREROUTING -d 10.77.2.0/24 -j NETMAP --to 10.244.2.0/24",
            "-t nat -I POSTROUTING -p udp -d 10.244.2.2 -j SNAT --to-source 192.168.51.11:5000-5001",
            "-t nat -I POSTROUTING -p udp -d 10.244.2.2 --dport 99 -j SNAT --to-source 192.168.51.11:6000",
        )
        + tcp("198.18.9.9:80", timeout=T)
        + ping("10.77.2.2")
        + "".join(send(f"IP(dst='10.244.2.2')/UDP(sport={port},dport=53)/'x'") for port in (7001, 7002))
        # the port is taken; of several, none would show which one a dropped packet was given last
        + "".join(send(f"IP(dst='10.244.2.2')/UDP(sport={port},dport=99)/'x'") for port in (7001, 7003, 6000))
    },
    "errors-come-back-through-nat": {
        "steps": rules(
            "-t nat -A PREROUTING -d 198.18.9.9 -j DNAT --to-destination 10.244.2.2",
            "-t nat -A POSTROUTING -d 10.244.2.2 -p udp -j MASQUERADE",
        )
        + udp("198.18.9.9:99")
        + send("IP(dst='198.18.9.9', ttl=3)/UDP(sport=9,dport=53)/'x'")
        + send("IP(dst='198.18.9.9', ttl=2)/ICMP(id=9)")
    },
    "forged-errors": {
        "steps": udp("default/web:53", port=4000)
        + "".join(
            send(f"IP(dst='10.244.1.2')/ICMP(type={kind},code={code})/{QUOTED}", W) for kind, code in ((3, 1), (3, 3), (11, 0), (12, 0), (4, 0))
        )
        + send(f"IP(dst='10.244.1.2')/ICMP(type=3,code=4,nexthopmtu=700)/{QUOTED}", W)
        + udp("default/web:53", port=4000, send="x" * 1000)
    },
    "nat-to-loopback": {
        "steps": rules("-t nat -A PREROUTING -p tcp --dport 88 -j DNAT --to-destination 127.0.0.1:9090")
        + tcp("node/node-1:88", timeout=T)
        + conf("conf.cbr0.route_localnet", 1)
        + tcp("node/node-1:88", timeout=T)
    },
    # conntrack
    "entries-time-out": {
        "cluster": conntrack(udp_timeout=2, udp_timeout_stream=4, icmp_timeout=1),
        "steps": udp("svc/web:53", port=4000)
        + ping(OUT)
        + "- wait: 3s\n"
        + udp("svc/web:53", port=4000) * 2
        + "- wait: 5s\n"
        + udp("svc/web:53", port=4000)
    },
    "a-connection-outlives-its-entry": {
        "cluster": conntrack(tcp_loose=0, tcp_timeout_established=2),
        "steps": '- name: chat\n  tcp: {from: default/client, to: "default/echo:7", send: a, close: false}\n'
         "- wait: 3s\n- more: {of: chat, send: b, timeout: 2s}\n",
        "more": ECHO,
    },
    "rejects-of-each-kind": {
        "steps": rules(
            *(
                f"-A FORWARD -p udp --dport {100 + number} -j REJECT --reject-with icmp-{kind}"
                for number, kind in enumerate(("net-unreachable", "host-unreachable", "proto-unreachable", "net-prohibited", "admin-prohibited"))
            ),
            "-A FORWARD -p tcp --dport 101 -j REJECT --reject-with tcp-reset",
        )
        + "".join(udp(f"default/web:{100 + number}", timeout="400ms") for number in range(5))
        + "".join(
            send(f"IP(dst='10.244.2.2')/TCP(sport=5,dport=101,flags='{flags}',seq=7,ack=9)/'xy'") for flags in ("R", "FA", "SA", "", "U")
        )
    },
    # Services
    "node-ports-local": {"steps": from_all(30080), "more": local("externalTrafficPolicy")},
    "external-address-of-a-node": {
        "steps": "".join(tcp("192.168.51.11:80", frm=frm, timeout=T) for frm in (C, N1, N2, OUT, W)),
        "more": np("externalIPs: [192.168.51.11]"),
    },
    "affinity-times-out": {
        "steps": tcp("svc/np:80") * 2 + "- wait: 4s\n" + tcp("svc/np:80") * 2 + tcp("node/node-2:30080", frm=OUT),
        "more": STICKY + "---\n" + OTHER,
    },
    "only-terminating-endpoints": {
        "steps": "- delete: pod/slow\n  settle: false\n- wait: 500ms\n"
        + tcp("svc/np:80", timeout=T)
        + tcp("node/node-2:30080", frm=OUT, timeout=T)
        + "- wait: 4s\n"
        + tcp("svc/np:80", timeout=T),
        "more": local("externalTrafficPolicy").replace("app: web", "app: slow")
        + "---\n"
        + OTHER.replace("other", "slow").replace("app: web", "app: slow").replace("Seconds: 0", "Seconds: 3"),
    },
    "a-port-range-of-two": {
        "cluster": '{nodes: 2, sysctls: {net.ipv4.ip_local_port_range: "40000 40001"}}',
        "steps": tcp("default/web:8080", frm=N1) * 3 + udp("default/web:53", frm=N1) * 3,
    },
    # flows that do not get everything through
    "a-client-whose-sends-fail": {
        "steps": chat(C)
        + route("default", where=CLIENT, verb="del_")
        + more("again", "1500ms")
        + route("default via 10.244.1.1", where=CLIENT)
        + more("back")
        + rules("-A OUTPUT -p tcp --tcp-flags PSH PSH -j DROP", where=CLIENT)
        + more("dropped", "2s")
        + rules("-F OUTPUT", where=CLIENT)
        + more("x", close="true"),
        "more": ECHO,
    },
    "a-server-whose-sends-fail": {
        "steps": chat(C)
        + route("default", where="pod/default/echo", verb="del_")
        + more("again", "1500ms")
        + route("default via 10.244.2.1", where="pod/default/echo")
        + more("x", close="true"),
        "more": ECHO,
    },
    "a-connection-is-rejected": {
        "steps": chat(C) + rules("-I FORWARD -p tcp -j REJECT --reject-with tcp-reset") + more("again") + more("x"),
        "more": ECHO,
    },
    "a-client-becomes-narrow": {
        "steps": chat(C) + "- link: {pod: default/client, mtu: 800}\n" + more("y" * 3000) + more("z" * 300, close="true"),
        "more": ECHO,
    },
    "ends-are-dropped": {
        "steps": '- name: chat\n  tcp: {from: default/client, to: "default/echo:7", send: a, close: false}\n'
        + rules("-A FORWARD -p tcp --tcp-flags FIN FIN -j DROP")
        + "- more: {of: chat, send: b, timeout: 2s}\n- wait: 3s\n",
        "more": ECHO,
    },
    "acknowledgements-are-dropped": {
        "steps": rules("-A FORWARD -i cbr0 -p tcp --tcp-flags ALL ACK -j DROP") + tcp("default/web:8080", timeout="3s")
    },
    # its route is by lo until OUTPUT has chosen the endpoint: the rules there count one packet
    "a-burst-to-a-node's-own-port": {"steps": tcp("node/node-2:30080", frm=N2, send="y" * 1460), "more": np()},
    "copies-by-tee": {
        "steps": rules(
            "-t mangle -A PREROUTING -d 10.244.2.2 -p udp -j TEE --gateway 10.244.1.3",
            "-t mangle -A POSTROUTING -d 10.244.2.2 -p tcp -j TEE --gateway 10.244.1.3",
            "-A OUTPUT -p icmp -j TEE --gateway 10.244.1.3 --oif cbr0",
        )
        + udp("default/web:53", frm=C)
        + tcp("default/web:8080", frm=C)
        + ping("default/web", frm=N1)
        + ping("default/web", frm=C),
        "more": OTHER,
    },
    "copies-that-go-nowhere": {
        "steps": rules(
            "-t mangle -A PREROUTING -p udp -j TEE --gateway 10.244.1.99",
            "-t mangle -A PREROUTING -p icmp -j TEE --gateway 10.244.1.3 --oif gone0",
            "-A FORWARD -j TEE --gateway 10.244.1.1",
        )
        + udp("default/web:53", frm=C)
        + ping("default/web", frm=C)
        + send("IP(dst='10.244.2.2',ttl=1)/UDP(sport=5,dport=99)/'x'"),
        "more": OTHER,
    },
    "pieces-in-any-order": {
        "steps": send("IP(dst='10.244.2.2',id=9,frag=2,proto=17)/'bbbbbbbbbbbbbbbb'")
        + send(r"IP(dst='10.244.2.2',id=9,flags='MF',proto=17)/b'\\x00\\x05\\x00\\x35\\x00\\x20\\x00\\x00aaaaaaaa'")
        + send("IP(dst='10.244.1.1',id=9,frag=1,proto=17)/'bbbbbbbbbbbbbbbbbbbbbbbb'")
        + send("IP(dst='10.244.1.1',id=9,frag=3,proto=17)/'bbbbbbbbbbbbbbbb'")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(scenario(**ROWS[name]), "table")
