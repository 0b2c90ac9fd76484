"""Calls of vlan, macvlan and ipvlan, on a node whose eth0 is a cable's end. Must not know how they are run."""

from __future__ import annotations

from typing import Any

from cni_cases import ALL, HOST_LOCAL, ONE, TWO, static, with_args
from cni_pairs import Call, Do, Step, add, check, delete, then

ETH0 = Do("node", "link add eth0 address 02:00:00:00:00:0a type veth peer name far0 address 02:00:00:00:00:0b")
UP = [ETH0, Do("node", "link set eth0 up"), Do("node", "link set far0 up")]
ROUTED = [
    *UP,
    Do("node", "addr add 192.168.0.1/24 dev eth0"),
    Do("node", "route add default via 192.168.0.254 dev eth0"),
]
EMPTY = static()
BAD_ROUTE = static("10.1.0.5/24", routes=[{"dst": "10.9.0.0/16", "gw": "10.200.0.1"}])
IN_POD = Do("pod0", "link add eth1 address 02:00:00:00:00:1a type veth peer name far1 address 02:00:00:00:00:1b")


def on(kind: str, *steps: Step) -> list[Step]:
    return [*UP, *steps]


def life(kind: str, **conf: Any) -> list[Step]:
    """ADD, CHECK, DEL, DEL again."""
    conf = {"master": "eth0", "ipam": HOST_LOCAL, **conf}
    return on(kind, add(kind, **conf), check(kind, **conf), delete(kind, **conf), delete(kind, **conf))


def alive(kind: str, **conf: Any) -> list[Step]:
    conf = {"master": "eth0", "ipam": HOST_LOCAL, **conf}
    return on(kind, add(kind, **conf), check(kind, **conf))


def pod1(call: Call) -> Call:
    return Call(call.command, call.kind, call.conf, pod=1, args=call.args, chained=call.chained)


def damaged(kind: str, **conf: Any) -> list[Step]:
    conf = {"master": "eth0", "ipam": HOST_LOCAL, **conf}
    again = check(kind, **conf)
    return [
        *on(kind, add(kind, **conf), again),
        Do("pod0", "route del default"),
        again,
        Do("pod0", "addr del 10.244.1.2/24 dev eth0"),
        again,
        Call("CHECK", kind, conf, ifname="net1"),
        Call("CHECK", kind, conf, chained=False),
        Do("pod0", "link del eth0"),
        again,
        Do("pod0", "link add eth0 address 02:00:00:00:00:88 type bridge"),
        again,
        delete(kind, **conf),
    ]


def common(kind: str, **own: Any) -> dict[str, list[Step]]:
    conf = {"master": "eth0", "ipam": HOST_LOCAL, **own}
    short = {"mtu": 1400, **own}
    return {
        "life": life(kind, **own),
        "alive": alive(kind, **own),
        "mtu": alive(kind, **short),
        "largest mtu": alive(kind, mtu=1500, **own),
        "mtu too large": alive(kind, mtu=1501, **own),
        "mtu below 0": alive(kind, mtu=-1, **own),
        "mtu is a word": alive(kind, mtu="big", **own),
        "no master": on(kind, add(kind, ipam=HOST_LOCAL, **own), delete(kind, ipam=HOST_LOCAL, **own)),
        "master of the default route": [*ROUTED, add(kind, ipam=HOST_LOCAL, **own), check(kind, ipam=HOST_LOCAL, **own)],
        "unknown master": alive(kind, master="eth9", **own),
        "master gone": [*on(kind, add(kind, **conf)), Do("node", "link del eth0"), check(kind, **conf), delete(kind, **conf)],
        "master is lo": alive(kind, master="lo", **own),
        "master down": [ETH0, add(kind, **conf), check(kind, **conf), delete(kind, **conf)],
        "twice": on(kind, add(kind, **conf), add(kind, **conf)),
        "another name": on(kind, add(kind, **conf), Call("ADD", kind, conf, ifname="net1", chained=False)),
        "two pods": on(kind, add(kind, **conf), pod1(add(kind, **{**conf, **({"vlanId": 6} if kind == "vlan" else {})}))),
        "no ipam": alive(kind, ipam={}, **own),
        "unknown ipam": alive(kind, ipam={"type": "nosuch"}, **own),
        "no addresses": alive(kind, ipam=EMPTY, **own),
        "two addresses": alive(kind, ipam=TWO, **own),
        "a route that cannot be": alive(kind, ipam=BAD_ROUTE, **own),
        "a route that cannot be, host-local": [
            *alive(kind, ipam={**HOST_LOCAL, "routes": [{"dst": "10.9.0.0/16", "gw": "10.200.0.1"}]}, **own),
            pod1(add(kind, ipam=HOST_LOCAL, master="eth0", **{**own, **({"vlanId": 6} if kind == "vlan" else {})})),
        ],
        "dns": alive(kind, dns={"nameservers": ["10.0.0.53"], "domain": "here"}, ipam={**ONE, "dns": {"domain": "there"}}, **own),
        "0.3.1": on(kind, add(kind, cniVersion="0.3.1", **conf), delete(kind, cniVersion="0.3.1", **conf)),
        "0.2.0": on(kind, add(kind, cniVersion="0.2.0", **conf)),
        "0.4.0": alive(kind, cniVersion="0.4.0", **own),
        "del without a namespace": on(kind, add(kind, **conf), Call("DEL", kind, conf, netns=False)),
        "del of nothing": on(kind, delete(kind, **conf)),
        "damaged": damaged(kind, **own),
        "wrong mac": [
            *on(kind, add(kind, **conf)),
            Do("node", "link set eth0 address 02:00:00:00:00:99"),
            check(kind, **conf),
        ],
    }  # fmt: skip


MACVLAN: dict[str, list[Step]] = {
    **common("macvlan"),
    **{f"mode {mode}": life("macvlan", mode=mode) for mode in ("bridge", "private", "vepa", "passthru", "source")},
    "mode passthru of two": on(
        "macvlan",
        add("macvlan", master="eth0", mode="passthru", ipam=HOST_LOCAL),
        pod1(add("macvlan", master="eth0", mode="bridge", ipam=HOST_LOCAL)),
    ),
    "another mode": on(
        "macvlan",
        add("macvlan", master="eth0", mode="vepa", ipam=HOST_LOCAL),
        check("macvlan", master="eth0", mode="private", ipam=HOST_LOCAL),
    ),
    "mac of the runtime": alive("macvlan", runtimeConfig={"mac": "02:00:00:00:00:55"}, mac="02:00:00:00:00:57"),
    "mac": alive("macvlan", mac="02:00:00:00:00:57"),
    "mac of args": [*UP, with_args("MAC=02:00:00:00:00:56", "macvlan", master="eth0", ipam=HOST_LOCAL)],
    "no mac": alive("macvlan", mac="zz"),
    "mac of a group": alive("macvlan", mac="01:00:5e:00:00:01"),
    "mac of another": on(
        "macvlan",
        add("macvlan", master="eth0", mac="02:00:00:00:00:57", ipam=HOST_LOCAL),
        pod1(add("macvlan", master="eth0", mac="02:00:00:00:00:57", ipam=HOST_LOCAL)),
    ),
    "wrong container mac": [
        *alive("macvlan"),
        Do("pod0", "link set eth0 address 02:00:00:00:00:99"),
        check("macvlan", master="eth0", ipam=HOST_LOCAL),
    ],
    "a port of a bridge": [
        *UP,
        Do("node", "link add br0 address 02:00:00:00:00:cc type bridge"),
        Do("node", "link set eth0 master br0"),
        add("macvlan", master="eth0", ipam=HOST_LOCAL),
    ],
    "tuning behind it": [*alive("macvlan"), then("tuning", mac="02:00:00:00:00:77", mtu=1300), delete("tuning")],
}  # fmt: skip
IPVLAN: dict[str, list[Step]] = {
    **common("ipvlan"),
    **{f"mode {mode}": life("ipvlan", mode=mode) for mode in ("l2", "l3", "l3s", "l4")},
    "another mode": on(
        "ipvlan",
        add("ipvlan", master="eth0", mode="l3", ipam=HOST_LOCAL),
        pod1(add("ipvlan", master="eth0", mode="l2", ipam=HOST_LOCAL)),
        check("ipvlan", master="eth0", mode="l3", ipam=HOST_LOCAL),
    ),
    "behind bridge": [*UP, add("bridge", bridge="br7", ipam=HOST_LOCAL), then("ipvlan", master="eth0")],
    "behind a result of one interface": [
        *UP,
        add("loopback"),
        Call("ADD", "ipvlan", {"ipam": HOST_LOCAL}, chained=True),
    ],
    "tuning behind it": [*alive("ipvlan"), then("tuning", mac="02:00:00:00:00:77"), then("tuning", mtu=1300)],
}
VLAN: dict[str, list[Step]] = {
    **common("vlan", vlanId=5),
    **{f"vlan {vid}": life("vlan", vlanId=vid) for vid in (0, 1, 4094, 4095, -1)},
    "no vlan": life("vlan"),
    "a vlan of another": on(
        "vlan",
        add("vlan", master="eth0", vlanId=5, ipam=HOST_LOCAL),
        pod1(add("vlan", master="eth0", vlanId=5, ipam=HOST_LOCAL)),
    ),
    "another vlan": on(
        "vlan",
        add("vlan", master="eth0", vlanId=5, ipam=HOST_LOCAL),
        check("vlan", master="eth0", vlanId=6, ipam=HOST_LOCAL),
        check("vlan", master="eth0", vlanId=5, mtu=1400, ipam=HOST_LOCAL),
    ),
    "its mac": [
        *alive("vlan", vlanId=5),
        Do("pod0", "link set eth0 address 02:00:00:00:00:99"),
        check("vlan", master="eth0", vlanId=5, ipam=HOST_LOCAL),
    ],
    "default route": alive("vlan", vlanId=5, ipam=static("10.1.0.5/24 10.1.0.1", routes=[ALL])),
}
TABLES = {"macvlan": MACVLAN, "ipvlan": IPVLAN, "vlan": VLAN}
CASES = {f"{kind}: {name}": steps for kind, table in TABLES.items() for name, steps in table.items()}
