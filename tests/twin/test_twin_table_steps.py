"""Steps that set up a node or a pod in the middle of a run, each judged by this machine's kernel: the same change is made there."""

from __future__ import annotations

import pytest

from twin_rows import C, np, ping, send, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

T = "1200ms"  # long enough for a first retry
PINGS = ping("default/web") + ping("node/node-2") + ping("external")
HTTP = tcp("default/web:8080", timeout=T)
SERVICE = tcp("svc/web:80", timeout=T)
FLOWS = PINGS + HTTP + SERVICE + tcp("svc/web:80", frm="node/node-1", timeout=T)
BACK = tcp("default/client:99", frm="default/web") + ping(C, frm="default/web")


def step(kind: str, where: str, **keys: object) -> str:
    """A step on `node/NAME` or `pod/NAME`; the values are YAML."""
    host, _, name = where.partition("/")
    words = ", ".join([f"{host}: {name}", *(f"{key.rstrip('_')}: {value}" for key, value in keys.items())])
    return f"- {kind}: {{{words}}}\n"


def rules(*commands: str, where: str = "node/node-1") -> str:
    return step("iptables", where, rules=[*commands])


def ipset(*commands: str, where: str = "node/node-1") -> str:
    return step("ipset", where, restore=[*commands])


ROWS: dict[str, dict[str, str]] = {
    "forward-policy-drop": {"steps": FLOWS + rules("-P FORWARD DROP") + FLOWS + rules("-P FORWARD ACCEPT") + PINGS},
    "forward-policy-drop-same-node": {"steps": rules("-P FORWARD DROP") + FLOWS, "node": "node-1"},
    "icmp-filtered": {
        "steps": rules("-I FORWARD -p icmp -j DROP", "-I OUTPUT -p icmp -j DROP", "-A INPUT -p icmp -j REJECT")
        + PINGS
        + HTTP
    },
    "path-mtu-without-icmp": {
        "steps": "- link: {node: node-2, mtu: 1000}\n"
        + rules("-I INPUT -p icmp -m icmp --icmp-type 3/4 -j DROP", "-I FORWARD -p icmp -m icmp --icmp-type 3/4 -j DROP")
        + tcp("default/web:8080", send="x" * 1400, timeout=T),
    },
    "firewall-reload": {
        "steps": SERVICE + step("iptables", "node/node-1", flush="true") + SERVICE + PINGS
    },
    "kube-proxy-comes-back": {
        "steps": step("iptables", "node/node-1", flush="true")
        + udp("svc/web:53", timeout=T)
        + "- wait: 31s\n"
        + udp("svc/web:53")
        + SERVICE,
    },
    "only-nat-flushed": {"steps": step("iptables", "node/node-1", flush="[nat]") + FLOWS},
    "restore-empties-a-table": {
        "steps": step("iptables", "node/node-1", restore='"*filter\\n:FORWARD DROP [0:0]\\nCOMMIT\\n"') + FLOWS
    },
    "restore-without-flush": {
        "steps": step(
            "iptables", "node/node-2", noflush="true", restore='"*mangle\\n-A PREROUTING -j TTL --ttl-set 9\\nCOMMIT\\n"'
        )
        + FLOWS
        + BACK
    },
    "chains-of-ones-own": {
        "steps": rules("-N POLICY", "-A POLICY -s 10.244.1.0/24 -p tcp -j REJECT --reject-with tcp-reset", "-I FORWARD -j POLICY")
        + FLOWS
        + rules("-D FORWARD -j POLICY", "-F POLICY", "-X POLICY")
        + HTTP,
    },
    "rules-of-a-pod": {
        "steps": rules("-A INPUT -p tcp -m tcp --dport 8080 -j DROP", where="pod/default/web")
        + tcp("default/web:8080", timeout=T)
        + udp("default/web:53")
        + rules("-F", "-A OUTPUT -p icmp -j DROP", where="pod/default/client")
        + PINGS,
    },
    "nat-of-a-pod": {
        "steps": rules("-t nat -A OUTPUT -p tcp --dport 81 -j DNAT --to-destination 10.244.2.2:8080", where="pod/default/client")
        + tcp("10.9.9.9:81", timeout=T)
        + HTTP,
    },
    "no-masquerade-any-more": {
        "steps": rules("-t nat -F KUBE-POSTROUTING") + SERVICE + tcp("node/node-1:30080", frm="external", timeout=T),
        "more": np(),
    },
    "no-forwarding": {
        "steps": step("sysctl", "node/node-1", set="{net.ipv4.ip_forward: 0}")
        + FLOWS
        + step("sysctl", "node/node-1", set="{net.ipv4.ip_forward: 1}")
        + PINGS
    },
    "no-forwarding-same-node": {
        "steps": step("sysctl", "node/node-1", set="{net.ipv4.ip_forward: 0}") + HTTP + SERVICE,
        "node": "node-1",
    },
    "ttl-and-time-wait-of-a-pod": {
        "steps": step("sysctl", "pod/default/client", set="{net.ipv4.ip_default_ttl: 2, net.ipv4.tcp_timestamps: 0}") + FLOWS
    },
    "strict-reverse-path": {
        "steps": step("sysctl", "node/node-1", set="{net.ipv4.conf.all.rp_filter: 1}")
        + send("IP(src='10.99.0.1', dst='10.244.2.2')/UDP(sport=44, dport=53)/'x'")
        + FLOWS,
    },
    "no-echo-answered": {
        "steps": step("sysctl", "pod/default/web", set="{net.ipv4.icmp_echo_ignore_all: 1}") + ping("default/web")
    },
    "blackhole": {"steps": step("route", "node/node-1", add="blackhole 10.244.2.0/24") + FLOWS},
    "unreachable-and-prohibit": {
        "steps": step("route", "node/node-1", add="[unreachable 10.244.2.2, prohibit 203.0.113.0/24]") + FLOWS
    },
    "no-default-route": {
        "steps": step("route", "node/node-1", del_="default")
        + FLOWS
        + step("route", "node/node-1", add="default via 192.168.51.1")
        + PINGS
    },
    "no-route-to-the-pods": {"steps": step("route", "node/node-2", del_="10.244.2.0/24") + FLOWS, "node": "node-2"},
    "a-pod-loses-its-way": {
        "steps": step("route", "pod/default/client", del_="default") + FLOWS + ping("10.244.1.1"),
    },
    "another-next-hop": {
        "steps": step("route", "node/node-1", replace="default via 10.244.1.77 dev cbr0") + ping("default/web")
    },
    "a-rule-prohibits": {
        "steps": step("rule", "node/node-1", add="from 10.244.1.0/24 to 203.0.113.0/24 prohibit priority 100")
        + FLOWS
        + step("rule", "node/node-1", del_="priority 100")
        + PINGS
    },
    "a-rule-with-its-table": {
        "steps": step("route", "node/node-1", add="blackhole default table 100")
        + step("rule", "node/node-1", add="[ipproto icmp lookup 100 priority 100, not from 10.244.0.0/16 fwmark 7 nop priority 90]")
        + FLOWS
    },
    "without-the-main-table": {"steps": step("rule", "node/node-1", del_="priority 32766") + FLOWS},
    "a-set-in-a-rule": {
        "steps": ipset("create bad hash:ip", "add bad 10.244.2.2", "create ports bitmap:port range 0-9000", "add ports 8080-8081")
        + rules("-I FORWARD -m set --match-set bad dst -m set ! --match-set ports dst -j DROP")
        + FLOWS
        + ipset("del bad 10.244.2.2")
        + FLOWS
        + ipset("add bad 10.244.2.2", "flush ports")
        + FLOWS,
    },
    "a-set-comes-and-goes": {
        "steps": ipset("create one hash:net", "create all list:set", "add all one", "add one 10.244.2.0/24")
        + rules("-I FORWARD -m set --match-set all src,dst -j DROP", "-I FORWARD -m set --match-set all dst -j REJECT")
        + ping("default/web")
        + rules("-D FORWARD 1", "-D FORWARD 1")
        + ipset("destroy all", "destroy one", "create one hash:net,iface", "add one 10.244.0.0/16,cbr0")
        + rules("-I FORWARD -m set --match-set one src,src -j REJECT")
        + FLOWS,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(scenario(**ROWS[name]), "table")
