"""The plugins beside the real ones: the same calls give the same results, errors, links, addresses, routes, rules and sysctls.

The judge is Debian's containernetworking-plugins 1.1.1; `cni_cases` has what later releases do otherwise.
"""

from __future__ import annotations

from typing import Any

import pytest

from cni_cases import ALL, HOST_LOCAL, ONE, TWO, compare, needs, on_pod1, static, with_args
from cni_pairs import Call, Do, Step, add, check, delete, then

pytestmark = needs("bridge", "host-device", "host-local", "ptp", "sbr", "static", "tuning")
STATIC: dict[str, list[Step]] = {
    "one": [add("static", ipam=ONE)],
    "dns": [add("static", ipam=static("10.1.0.5/24", dns={"nameservers": ["10.0.0.2"], "domain": "a.example"}))],
    "two": [add("static", ipam=TWO)],
    "none": [add("static", ipam=static())],
    "no ipam": [add("static")],
    "no length": [add("static", ipam=static("10.1.0.5"))],
    "length": [add("static", ipam=static("10.1.0.5/33"))],
    "no address": [add("static", ipam={"type": "static", "addresses": [{"gateway": "10.1.0.1"}]})],
    "gateway": [add("static", ipam=static("10.1.0.5/24 zz"))],
    "route": [add("static", ipam=static("10.1.0.5/24", routes=[{"dst": "zz"}]))],
    "route's gateway": [add("static", ipam=static("10.1.0.5/24", routes=[{"dst": "10.0.0.0/8", "gw": "a"}]))],
    "0.2.0": [add("static", ipam=ONE, cniVersion="0.2.0"), add("static", ipam=TWO, cniVersion="0.2.0")],
    "0.3.1": [add("static", ipam=ONE, cniVersion="0.3.1")],
    "0.4.0": [add("static", ipam=TWO, cniVersion="0.4.0"), check("static", ipam=TWO, cniVersion="0.4.0")],
    "args": [with_args("IP=10.9.0.5/24, 10.8.0.5/16;GATEWAY=10.9.0.1,10.1.0.77", ipam=ONE)],
    "args without a length": [with_args("IP=10.9.0.5", ipam=ONE)],
    "args with a bad gateway": [with_args("IP=10.9.0.5/24;GATEWAY=xx", ipam=ONE)],
    "args unknown": [with_args("FOO=1", ipam=ONE), with_args("FOO=1;IgnoreUnknown=1", ipam=ONE)],
    "args without ipam": [with_args("IP=10.9.0.5/24")],
    "ips": [add("static", ipam=ONE, args={"cni": {"ips": ["10.7.0.1/24"]}})],
    "ips of the runtime": [
        add("static", ipam=ONE, runtimeConfig={"ips": ["10.6.0.1/24"]}, args={"cni": {"ips": ["10.7.0.1/24"]}})
    ],
    "ips without a length": [add("static", ipam=ONE, runtimeConfig={"ips": ["10.6.0.1"]})],
    "check": [
        add("static", ipam=ONE),
        check("static", ipam=ONE),
        check("static", ipam=static("10.1.0.5/24 10.1.0.9")),
        check("static", ipam=static("10.1.0.5/24")),
        check("static", ipam=static("10.1.0.6/24 10.1.0.1")),
    ],
    "check alone": [check("static", ipam=ONE)],
    "del": [delete("static", ipam=ONE), delete("static"), delete("static", ipam=static("x"))],
}
PTP: dict[str, list[Step]] = {
    "one": [add("ptp", ipam=HOST_LOCAL), check("ptp", ipam=HOST_LOCAL)],
    "two pods": [add("ptp", ipam=HOST_LOCAL), on_pod1(add("ptp", ipam=HOST_LOCAL))],
    "mtu": [add("ptp", ipam=HOST_LOCAL, mtu=1400)],
    "masquerade": [add("ptp", ipam=HOST_LOCAL, ipMasq=True), on_pod1(add("ptp", ipam=HOST_LOCAL, ipMasq=True))],
    "masquerade gone": [
        add("ptp", ipam=HOST_LOCAL, ipMasq=True),
        on_pod1(add("ptp", ipam=HOST_LOCAL, ipMasq=True)),
        delete("ptp", ipam=HOST_LOCAL, ipMasq=True),
        delete("ptp", ipam=HOST_LOCAL, ipMasq=True),
    ],
    "two addresses": [add("ptp", ipam=TWO), check("ptp", ipam=TWO)],
    "two of one subnet": [add("ptp", ipam=static("10.1.0.5/24 10.1.0.1", "10.1.0.6/24 10.1.0.1"))],
    "two of one subnet, two gateways": [add("ptp", ipam=static("10.1.0.5/24 10.1.0.1", "10.1.0.6/24 10.1.0.2"))],
    "dns": [
        add("ptp", ipam={**ONE, "dns": {"nameservers": ["10.0.0.2"]}}),
        on_pod1(add("ptp", ipam={**ONE, "dns": {"nameservers": ["10.0.0.2"]}}, dns={"nameservers": ["10.0.0.3"]})),
    ],
    "no gateway": [add("ptp", ipam=static("10.1.0.5/24"))],
    "no gateway, default route": [add("ptp", ipam=static("10.1.0.5/24", routes=[ALL]))],
    "/32": [add("ptp", ipam=static("10.1.0.5/32 10.1.0.1"))],
    "/31": [add("ptp", ipam=static("10.1.0.5/31 10.1.0.4"))],
    "itself the gateway": [add("ptp", ipam=static("10.1.0.5/24 10.1.0.5"))],
    "route out of reach": [
        add("ptp", ipam=static("10.1.0.5/24 10.1.0.1", routes=[{"dst": "10.0.0.0/8", "gw": "9.9.9.9"}]))
    ],
    "twice": [add("ptp", ipam=HOST_LOCAL), add("ptp", ipam=HOST_LOCAL)],
    "twice as another container": [add("ptp", ipam=HOST_LOCAL), Call("ADD", "ptp", {"ipam": HOST_LOCAL}, cid="other")],
    "again after del": [
        add("ptp", ipam=HOST_LOCAL),
        delete("ptp", ipam=HOST_LOCAL),
        delete("ptp", ipam=HOST_LOCAL),
        add("ptp", ipam=HOST_LOCAL),
    ],
    "another interface": [
        add("ptp", ipam=ONE),
        Call("ADD", "ptp", {"ipam": static("10.3.0.5/24 10.3.0.1")}, ifname="net1", chained=False),
    ],
    "no ipam": [add("ptp"), delete("ptp"), check("ptp")],
    "unknown ipam": [add("ptp", ipam={"type": "nosuch"})],
    "empty ipam": [add("ptp", ipam=static())],
    "exhausted": [
        add("ptp", ipam={**HOST_LOCAL, "ranges": [[{"subnet": "10.9.9.0/30"}]]}),
        on_pod1(add("ptp", ipam={**HOST_LOCAL, "ranges": [[{"subnet": "10.9.9.0/30"}]]})),
    ],
    "del without a namespace": [
        add("ptp", ipam=HOST_LOCAL, ipMasq=True),
        Call("DEL", "ptp", {"ipam": HOST_LOCAL, "ipMasq": True}, netns=False),
    ],
    "0.3.1": [add("ptp", ipam=HOST_LOCAL, cniVersion="0.3.1"), check("ptp", ipam=HOST_LOCAL, cniVersion="0.3.1")],
    "0.4.0": [add("ptp", ipam=HOST_LOCAL, cniVersion="0.4.0"), check("ptp", ipam=HOST_LOCAL, cniVersion="0.4.0")],
    "0.2.0": [add("ptp", ipam=HOST_LOCAL, cniVersion="0.2.0")],
    "check alone": [add("ptp", ipam=HOST_LOCAL), Call("CHECK", "ptp", {"ipam": HOST_LOCAL}, chained=False)],
    "check of another name": [add("ptp", ipam=ONE), Call("CHECK", "ptp", {"ipam": ONE}, ifname="net1")],
    "damaged": [
        add("ptp", ipam=HOST_LOCAL),
        Do("pod0", "route del default"),
        check("ptp", ipam=HOST_LOCAL),
        Do("pod0", "addr del 10.244.1.2/24 dev eth0"),
        check("ptp", ipam=HOST_LOCAL),
        Do("pod0", "link set eth0 address 02:00:00:00:00:99"),
        check("ptp", ipam=HOST_LOCAL),
        Do("pod0", "link del eth0"),
        check("ptp", ipam=HOST_LOCAL),
        delete("ptp", ipam=HOST_LOCAL, ipMasq=True),
    ],
    "another kind of device": [
        add("ptp", ipam=ONE),
        Do("pod0", "link del eth0"),
        Do("pod0", "link add eth0 address 02:00:00:00:00:88 type bridge"),
        check("ptp", ipam=ONE),
    ],
}
EVERYTHING: dict[str, Any] = {
    "sysctl": {"net.ipv4.conf.eth0.arp_filter": "1", "net.core.somaxconn": "500"},
    "mac": "02:00:00:00:00:77",
    "mtu": 1400,
    "promisc": True,
}


def tuned(*steps: Step) -> list[Step]:
    """After an ADD of ptp."""
    return [add("ptp", ipam=HOST_LOCAL), *steps]


TUNING: dict[str, list[Step]] = {
    "nothing": tuned(then("tuning"), check("tuning"), delete("tuning")),
    "alone": [add("tuning", mac="02:00:00:00:00:77"), check("tuning"), delete("tuning")],
    "everything": tuned(then("tuning", **EVERYTHING), check("tuning", **EVERYTHING)),
    "everything gone": tuned(then("tuning", **EVERYTHING), delete("tuning", **EVERYTHING), delete("tuning")),
    "mac": tuned(then("tuning", mac="02:00:00:00:00:77"), check("tuning", mac="02:00:00:00:00:77")),
    "mac in capitals": tuned(then("tuning", mac="02:00:00:00:00:AB"), check("tuning", mac="02:00:00:00:00:AB")),
    "mac of a group": tuned(then("tuning", mac="01:00:00:00:00:01")),
    "mac of zeros": tuned(then("tuning", mac="00:00:00:00:00:00")),
    "no mac": tuned(then("tuning", mac="zz")),
    "mtu": tuned(then("tuning", mtu=1300), check("tuning", mtu=1300), delete("tuning")),
    "mtu too small": tuned(then("tuning", mtu=67)),
    "mtu smallest": tuned(then("tuning", mtu=68)),
    "mtu largest": tuned(then("tuning", mtu=65535)),
    "mtu too large": tuned(then("tuning", mtu=65536)),
    "what comes before a failure stays": tuned(
        then("tuning", mac="02:00:00:00:00:77", promisc=True, mtu=20), delete("tuning")
    ),
    "promisc": tuned(then("tuning", promisc=True), then("tuning", promisc=True), delete("tuning")),
    "promisc before": tuned(
        Do("pod0", "link set eth0 promisc on"), then("tuning", promisc=True), delete("tuning"), check("tuning")
    ),
    "sysctl of the interface": tuned(then("tuning", sysctl={"net.ipv4.conf.IFNAME.arp_filter": "1"})),
    "sysctl with slashes": tuned(then("tuning", sysctl={"net/ipv4/conf/IFNAME/arp_filter": "1"})),
    "sysctl of several numbers": tuned(
        then("tuning", sysctl={"net.ipv4.ip_local_port_range": "1024 65000"}),
        check("tuning", sysctl={"net.ipv4.ip_local_port_range": "1024 65000"}),
        check("tuning", sysctl={"net.ipv4.ip_local_port_range": "1024\t65000"}),
    ),
    "sysctl of another device": tuned(then("tuning", sysctl={"net.ipv4.conf.eth9.arp_filter": "1"})),
    "no sysctl": tuned(then("tuning", sysctl={"net.nosuch": "1"})),
    "sysctl of the kernel": tuned(then("tuning", sysctl={"kernel.panic": "1"})),
    "sysctl's value": tuned(then("tuning", sysctl={"net.core.somaxconn": "zz"})),
    "sysctl ip_forward": tuned(then("tuning", sysctl={"net.ipv4.ip_forward": "1"}), delete("tuning")),
    "another interface": tuned(Call("ADD", "tuning", {"mtu": 1300}, ifname="net1")),
    "another interface's sysctl alone": tuned(
        Call("ADD", "tuning", {"sysctl": {"net.core.somaxconn": "77"}}, ifname="net1")
    ),
    "mac of args": tuned(with_args("MAC=02:00:00:00:00:04", "tuning", chained=True, mac="02:00:00:00:00:01")),
    "mac of the runtime": tuned(
        with_args(
            "MAC=02:00:00:00:00:04",
            "tuning",
            chained=True,
            mac="02:00:00:00:00:01",
            runtimeConfig={"mac": "02:00:00:00:00:02"},
        )
    ),
    "args unknown": tuned(with_args("IP=1", "tuning", chained=True)),
    "args.cni": tuned(
        then(
            "tuning",
            mac="02:00:00:00:00:01",
            mtu=1200,
            sysctl={"net.core.somaxconn": "76", "net.ipv4.ip_forward": "1"},
            args={
                "cni": {
                    "mac": "02:00:00:00:00:03",
                    "mtu": 1300,
                    "promisc": True,
                    "sysctl": {"net.core.somaxconn": "77"},
                }
            },
        )
    ),
    "twice": tuned(
        then("tuning", mac="02:00:00:00:00:01", mtu=1200), then("tuning", mtu=1300), delete("tuning"), delete("tuning")
    ),
    "del without a namespace": tuned(then("tuning", mtu=1300), Call("DEL", "tuning", {}, netns=False)),
    "del without the interface": tuned(then("tuning", mtu=1300), Do("pod0", "link del eth0"), delete("tuning")),
    "two containers": [
        *tuned(then("tuning", mtu=1300)),
        on_pod1(add("ptp", ipam=HOST_LOCAL)),
        on_pod1(then("tuning", mtu=1200)),
        delete("tuning"),
    ],
    "0.3.1": [
        add("ptp", ipam=HOST_LOCAL, cniVersion="0.3.1"),
        then("tuning", cniVersion="0.3.1", mac="02:00:00:00:00:77"),
    ],
    "damaged": tuned(
        then("tuning", **EVERYTHING),
        Do("pod0", "sysctl net.core.somaxconn 499"),
        check("tuning", **EVERYTHING),
        Do("pod0", "sysctl net.core.somaxconn 500"),
        Do("pod0", "link set eth0 address 02:00:00:00:00:78"),
        check("tuning", **EVERYTHING),
        Do("pod0", "link set eth0 address 02:00:00:00:00:77"),
        Do("pod0", "link set eth0 promisc off"),
        check("tuning", **EVERYTHING),
        Do("pod0", "link set eth0 promisc on"),
        Do("pod0", "link set eth0 mtu 1401"),
        check("tuning", **EVERYTHING),
        check("tuning", mtu=1401),
        check("tuning", sysctl={"net.nosuch": "1"}),
        check("tuning", sysctl={"net.ipv4.conf.IFNAME.arp_filter": "1"}),
        Call("CHECK", "tuning", {"mtu": 1400}, ifname="net1"),
        Do("pod0", "link del eth0"),
        check("tuning", mtu=1401),
    ),
}
CABLE = Do("node", "link add dev0 address 02:00:00:00:00:10 type veth peer name dev1 address 02:00:00:00:00:11")
UP = [CABLE, Do("node", "link set dev0 up"), Do("node", "link set dev1 up")]
DEV0: dict[str, Any] = {"device": "dev0"}
HOST_DEVICE: dict[str, list[Step]] = {
    "by name": [CABLE, add("host-device", **DEV0), check("host-device", **DEV0)],
    "by mac": [CABLE, add("host-device", hwaddr="02:00:00:00:00:11")],
    "with a carrier": [*UP, add("host-device", **DEV0, ipam=ONE), check("host-device", **DEV0, ipam=ONE)],
    "its addresses and routes stay behind": [
        *UP,
        Do("node", "addr add 10.9.0.1/24 dev dev0"),
        Do("node", "route add 10.8.0.0/16 via 10.9.0.2"),
        Do("node", "sysctl net.ipv4.conf.dev0.rp_filter 2"),
        add("host-device", **DEV0, ipam=HOST_LOCAL),
    ],
    "dns": [*UP, add("host-device", **DEV0, ipam={**ONE, "dns": {"domain": "a"}}, dns={"nameservers": ["10.0.0.3"]})],
    "back": [
        *UP,
        add("host-device", **DEV0, ipam=HOST_LOCAL),
        delete("host-device", **DEV0, ipam=HOST_LOCAL),
        check("host-device", **DEV0),
        delete("host-device", **DEV0, ipam=HOST_LOCAL),
        add("host-device", **DEV0, ipam=HOST_LOCAL),
    ],
    "back with the conf's own ipam": [*UP, add("host-device", **DEV0, ipam=ONE), delete("host-device", **DEV0)],
    "changed, and back": [
        *UP,
        add("host-device", **DEV0),
        Do("pod0", "link set eth0 address 02:00:00:00:00:99"),
        Do("pod0", "link set eth0 mtu 1400"),
        Do("pod0", "link set eth0 promisc on"),
        check("host-device", **DEV0),
        delete("host-device", **DEV0),
    ],
    "the name is taken in the container": [
        *UP,
        add("host-device", **DEV0),
        add("host-device", device="dev1"),
    ],
    "the former name is taken": [
        *UP,
        add("host-device", **DEV0),
        Do("node", "link add dev0 address 02:00:00:00:00:20 type bridge"),
        delete("host-device", **DEV0),
    ],
    "the former name is taken, with addresses": [
        *UP,
        add("host-device", **DEV0, ipam=HOST_LOCAL),
        Do("node", "link add dev0 address 02:00:00:00:00:20 type bridge"),
        delete("host-device", **DEV0),
    ],
    "the former name is taken in the container": [
        *UP,
        add("host-device", **DEV0, ipam=ONE),
        Do("pod0", "link add dev0 address 02:00:00:00:00:20 type bridge"),
        delete("host-device", **DEV0),
    ],
    "same name": [*UP, Call("ADD", "host-device", DEV0, ifname="dev0")],
    "the name that it came with is taken": [
        *UP,
        Do("pod0", "link add dev0 address 02:00:00:00:00:20 type bridge"),
        add("host-device", **DEV0),
    ],
    "del of a link that is not its own": [add("ptp", ipam=ONE), delete("host-device", **DEV0)],
    "two, two containers": [*UP, add("host-device", **DEV0), on_pod1(add("host-device", device="dev1"))],
    "a bridge's port": [
        *UP,
        Do("node", "link add br0 address 02:00:00:00:00:20 type bridge"),
        Do("node", "link set br0 up"),
        Do("node", "link set dev0 master br0"),
        add("host-device", **DEV0),
        delete("host-device", **DEV0),
    ],
    "lo": [add("host-device", device="lo")],
    "no key": [add("host-device"), delete("host-device"), check("host-device")],
    "no device": [add("host-device", **DEV0), delete("host-device", **DEV0)],
    "no mac": [add("host-device", hwaddr="zz"), add("host-device", hwaddr="02:00:00:00:00:70")],
    "no path": [add("host-device", kernelpath="/x"), add("host-device", kernelpath="/sys/devices/x")],
    "no bus": [
        add("host-device", pciBusID="0000:00:1f.6"),
        add("host-device", **DEV0, runtimeConfig={"deviceID": "0000:00:1f.7"}),
        delete("host-device", pciBusID="0000:00:1f.6"),
    ],
    "empty ipam": [*UP, add("host-device", **DEV0, ipam=static()), delete("host-device", **DEV0, ipam=static())],
    "unknown ipam": [*UP, add("host-device", **DEV0, ipam={"type": "nosuch"})],
    "an ipam that cannot be done": [
        *UP,
        add("host-device", **DEV0, ipam=static("10.1.0.5/24", routes=[{"dst": "10.0.0.0/8", "gw": "9.9.9.9"}])),
        delete("host-device", **DEV0),
    ],
    "del without a namespace": [*UP, add("host-device", **DEV0), Call("DEL", "host-device", DEV0, netns=False)],
    "check alone": [*UP, add("host-device", **DEV0), Call("CHECK", "host-device", DEV0, chained=False)],
    "damaged": [
        *UP,
        add("host-device", **DEV0, ipam=HOST_LOCAL),
        Do("pod0", "route del default"),
        check("host-device", **DEV0, ipam=HOST_LOCAL),
        Do("pod0", "addr del 10.244.1.2/24 dev eth0"),
        check("host-device", **DEV0, ipam=HOST_LOCAL),
        Call("CHECK", "host-device", {**DEV0, "ipam": HOST_LOCAL}, ifname="net1"),
        Do("pod0", "link del eth0"),
        check("host-device", **DEV0, ipam=HOST_LOCAL),
    ],
}
BRIDGE: dict[str, Any] = {"isGateway": True, "ipam": HOST_LOCAL}
SBR: dict[str, list[Step]] = {
    "ptp": tuned(then("sbr"), check("sbr")),
    "ptp, gone": tuned(then("sbr"), delete("sbr"), delete("sbr"), delete("ptp", ipam=HOST_LOCAL), delete("sbr")),
    "ptp, two addresses": [add("ptp", ipam=TWO), then("sbr")],
    "ptp, two addresses, gone": [add("ptp", ipam=TWO), then("sbr"), delete("sbr")],
    "bridge": [add("bridge", **BRIDGE), then("sbr"), delete("sbr")],
    "bridge without a gateway": [add("bridge", ipam=static("10.1.0.5/24")), then("sbr")],
    "bridge, two addresses": [add("bridge", isGateway=False, ipam=TWO), then("sbr")],
    "bridge, two of one subnet": [
        add("bridge", ipam=static("10.1.0.5/24 10.1.0.1", "10.1.0.6/24 10.1.0.1", routes=[ALL])),
        then("sbr"),
    ],
    "bridge, routes of several kinds": [
        add("bridge", ipam=static("10.1.0.5/24 10.1.0.1", routes=[ALL, {"dst": "10.7.0.0/16", "gw": "10.1.0.9"}])),
        Do("pod0", "route add 10.6.0.0/16 dev eth0 scope link"),
        Do("pod0", "route add 10.5.0.0/16 via 10.1.0.8 metric 7"),
        then("sbr"),
    ],
    "twice": [add("bridge", **BRIDGE), then("sbr"), then("sbr")],
    "the second interface": [
        add("bridge", **BRIDGE),
        Call("ADD", "bridge", {"bridge": "br1", "ipam": static("10.3.0.5/24 10.3.0.1")}, ifname="net1", chained=False),
        Call("ADD", "sbr", {}, ifname="net1"),
        Call("DEL", "sbr", {}, ifname="net1"),
    ],
    "tables in use": [
        add("bridge", **BRIDGE),
        Do("pod0", "rule add from 10.77.0.1 lookup 100"),
        Do("pod0", "rule add from 10.77.0.2 lookup 102"),
        then("sbr"),
        delete("sbr"),
    ],
    "a table with routes and without a rule": [
        add("bridge", **BRIDGE),
        Do("pod0", "route add default via 10.244.1.1 dev eth0 table 100"),
        then("sbr"),
    ],
    "another name": [add("bridge", **BRIDGE), Call("ADD", "sbr", {}, ifname="net1")],
    "no addresses": [add("bridge"), then("sbr")],
    "alone": [add("sbr"), check("sbr"), delete("sbr")],
    "del without a namespace": tuned(then("sbr"), Call("DEL", "sbr", {}, netns=False)),
    "tuning too": tuned(then("tuning", mac="02:00:00:00:00:77"), then("sbr"), check("ptp", ipam=HOST_LOCAL)),
    "0.3.1": [add("ptp", ipam=TWO, cniVersion="0.3.1"), then("sbr", cniVersion="0.3.1")],
}
TABLES = {"static": STATIC, "ptp": PTP, "tuning": TUNING, "host-device": HOST_DEVICE, "sbr": SBR}
CASES = [(kind, name, steps) for kind, table in TABLES.items() for name, steps in table.items()]


@pytest.mark.parametrize(("kind", "name", "steps"), CASES, ids=[f"{kind}-{name}" for kind, name, _ in CASES])
def test_the_same_on_both_sides(kind: str, name: str, steps: list[Step]) -> None:
    compare(steps)
