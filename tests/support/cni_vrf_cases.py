"""Calls of vrf behind plugins that make interfaces. Must not know how they are run."""

from __future__ import annotations

from typing import Any

from cni_cases import HOST_LOCAL, TWO
from cni_pairs import Call, Do, Step, add, check, delete, then

BRIDGE: dict[str, Any] = {"isGateway": True, "ipam": HOST_LOCAL}
RED: dict[str, Any] = {"vrfname": "red"}
NET1 = Call("ADD", "bridge", {"bridge": "cni1", "isGateway": True, "ipam": {**HOST_LOCAL, "ranges": [[{"subnet": "10.7.0.0/24"}]]}}, ifname="net1", chained=False)  # fmt: skip


def behind(*steps: Step) -> list[Step]:
    return [add("bridge", **BRIDGE), *steps]


def on_net1(command: str, **conf: Any) -> Call:
    return Call(command, "vrf", conf, ifname="net1")


VRF: dict[str, list[Step]] = {
    "one": behind(then("vrf", **RED), check("vrf", **RED)),
    "table": behind(then("vrf", vrfname="red", table=1001), check("vrf", vrfname="red", table=1001)),
    "life": behind(
        then("vrf", **RED),
        delete("vrf", **RED),
        check("vrf", **RED),
        delete("vrf", **RED),
        delete("bridge", **BRIDGE),
    ),
    "two interfaces": behind(then("vrf", **RED), NET1, on_net1("ADD", **RED), on_net1("CHECK", **RED)),
    "two interfaces, one gone": behind(then("vrf", **RED), NET1, on_net1("ADD", **RED), on_net1("DEL", **RED)),
    "two vrfs": behind(then("vrf", **RED), NET1, on_net1("ADD", vrfname="blue")),
    "two addresses": [add("ptp", ipam=TWO), then("vrf", **RED)],
    "behind ptp": [add("ptp", ipam=HOST_LOCAL), then("vrf", **RED)],
    "twice": behind(then("vrf", **RED), then("vrf", **RED)),
    "another table": behind(then("vrf", vrfname="red", table=5), NET1, on_net1("ADD", vrfname="red", table=6)),
    "a table of routes": behind(
        Do("pod0", "route add 10.50.0.0/16 via 10.244.1.7 dev eth0"),
        Do("pod0", "route add 10.60.0.0/16 via 10.244.1.7 dev eth0 table 100"),
        then("vrf", **RED),
    ),
    "no name": behind(then("vrf"), delete("vrf")),
    "no result": [add("vrf", **RED), check("vrf", **RED), delete("vrf", **RED)],
    "no interface": behind(on_net1("ADD", **RED)),
    "not a vrf": behind(
        Do("pod0", "link add red address 02:00:00:00:00:88 type bridge"),
        then("vrf", **RED),
        check("vrf", **RED),
        delete("vrf", **RED),
    ),
    "a port": behind(
        Do("pod0", "link add br7 address 02:00:00:00:00:88 type bridge"),
        Do("pod0", "link set eth0 master br7"),
        then("vrf", **RED),
    ),
    "released by hand": behind(then("vrf", **RED), Do("pod0", "link set eth0 nomaster"), check("vrf", **RED), delete("vrf", **RED)),
    "interface gone": behind(then("vrf", **RED), Do("pod0", "link del eth0"), check("vrf", **RED), delete("vrf", **RED)),
    "del without a namespace": behind(then("vrf", **RED), Call("DEL", "vrf", RED, netns=False)),
    "0.3.1": [add("bridge", cniVersion="0.3.1", **BRIDGE), then("vrf", cniVersion="0.3.1", **RED)],
    "0.3.0": [add("vrf", cniVersion="0.3.0", **RED)],
}  # fmt: skip
CASES = {f"vrf: {name}": steps for name, steps in VRF.items()}
