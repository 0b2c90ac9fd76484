"""bridge, host-local and loopback beside the real ones, as `test_plugins_kernel` has the others."""

from __future__ import annotations

from typing import Any

import pytest

from cni_cases import ALL, HOST_LOCAL, TWO, compare, needs, on_pod1, static, with_args
from cni_pairs import Call, Do, Step, add, check, delete, then

pytestmark = needs("bridge", "host-local", "loopback", "static", "tuning")


def ranges(*subnets: dict[str, Any], routes: Any = (ALL,)) -> dict[str, Any]:
    return {"type": "host-local", "ranges": [[each] for each in subnets], "routes": list(routes)}


def gateway(**keys: Any) -> dict[str, Any]:
    return {"isGateway": True, "ipam": HOST_LOCAL, **keys}


NARROW = ranges({"subnet": "10.244.1.0/24", "rangeStart": "10.244.1.10", "rangeEnd": "10.244.1.11"})
BRIDGE: dict[str, list[Step]] = {
    "gateway": [add("bridge", **gateway()), check("bridge", **gateway())],
    "no gateway": [add("bridge", ipam=HOST_LOCAL), check("bridge", ipam=HOST_LOCAL)],
    "no routes": [add("bridge", ipam=ranges({"subnet": "10.244.1.0/24"}, routes=()))],
    "default gateway": [add("bridge", isDefaultGateway=True, ipam=ranges({"subnet": "10.244.1.0/24"}, routes=()))],
    "default gateway and a default route": [
        add("bridge", isDefaultGateway=True, ipam=HOST_LOCAL),
        add("bridge", isDefaultGateway=True, ipam=HOST_LOCAL),
    ],
    "default gateway and a default route with a gateway": [
        add("bridge", isDefaultGateway=True, ipam=static("10.1.0.5/24", routes=[{**ALL, "gw": "10.1.0.7"}]))
    ],
    "two pods": [add("bridge", **gateway()), on_pod1(add("bridge", **gateway()))],
    "masquerade": [add("bridge", **gateway(ipMasq=True)), on_pod1(add("bridge", **gateway(ipMasq=True)))],
    "masquerade gone": [
        add("bridge", **gateway(ipMasq=True)),
        delete("bridge", **gateway(ipMasq=True)),
        delete("bridge", **gateway(ipMasq=True)),
        on_pod1(add("bridge", **gateway(ipMasq=True))),
    ],
    "masquerade, del without a namespace": [
        add("bridge", **gateway(ipMasq=True)),
        Call("DEL", "bridge", gateway(ipMasq=True), netns=False),
    ],
    "hairpin, mtu": [add("bridge", **gateway(hairpinMode=True, mtu=1400))],
    "promisc": [add("bridge", **gateway(promiscMode=True))],
    "two addresses": [add("bridge", ipam=TWO)],
    "two gateways": [add("bridge", isGateway=True, ipam=TWO)],
    "other bridge": [add("bridge", bridge="br7", **gateway())],
    "other bridge address": [
        add("bridge", **gateway()),
        on_pod1(add("bridge", isGateway=True, ipam=ranges({"subnet": "10.7.0.0/24"}))),
    ],
    "forced bridge address": [
        add("bridge", **gateway()),
        on_pod1(add("bridge", isGateway=True, forceAddress=True, ipam=ranges({"subnet": "10.7.0.0/24"}))),
    ],
    "layer 2": [add("bridge"), delete("bridge")],
    "twice": [add("bridge", **gateway()), add("bridge", **gateway())],
    "exhausted": [
        add("bridge", isGateway=True, ipam=NARROW),
        on_pod1(add("bridge", isGateway=True, ipam=NARROW)),
        Call("ADD", "bridge", {"isGateway": True, "ipam": NARROW}, ifname="net1", cid="third", chained=False),
    ],
    "mac": [add("bridge", **gateway(args={"cni": {"mac": "02:00:00:00:00:55"}}))],
    "mac of args": [
        with_args("MAC=02:00:00:00:00:56", "bridge", **gateway(args={"cni": {"mac": "02:00:00:00:00:55"}}))
    ],
    "no mac": [on_pod1(add("bridge", **gateway())), with_args("MAC=zz", "bridge", **gateway())],
    "unknown ipam": [add("bridge", ipam={"type": "nosuch"})],
    "empty ipam": [add("bridge", ipam=static())],
    "check alone": [add("bridge", **gateway()), Call("CHECK", "bridge", gateway(), chained=False)],
    "0.3.1": [add("bridge", cniVersion="0.3.1", **gateway())],
    "0.2.0": [add("bridge", cniVersion="0.2.0", **gateway())],
    "not a bridge": [
        Do("node", "link add cni0 address 02:00:00:00:00:10 type veth peer name dev1 address 02:00:00:00:00:11"),
        add("bridge", **gateway()),
    ],
    "damaged": [
        add("bridge", **gateway()),
        Do("pod0", "route del default"),
        check("bridge", **gateway()),
        Do("pod0", "addr del 10.244.1.2/24 dev eth0"),
        check("bridge", **gateway()),
        Do("pod0", "link set eth0 address 02:00:00:00:00:99"),
        check("bridge", **gateway()),
        Do("pod0", "link del eth0"),
        check("bridge", **gateway()),
        delete("bridge", **gateway()),
    ],
    "damaged node": [
        add("bridge", **gateway()),
        check("bridge", **gateway(promiscMode=True)),
        Do("node", "link set cni0 promisc on"),
        check("bridge", **gateway()),
        Do("node", "link set cni0 promisc off"),
        Do("node", "link set cni0 address 02:00:00:00:00:98"),
        check("bridge", **gateway()),
        check("bridge", bridge="br7", **gateway()),
        Call("CHECK", "bridge", gateway(), ifname="net1"),
        delete("bridge", **gateway()),
        check("bridge", **gateway()),
    ],
    "another kind of bridge": [
        add("bridge", **gateway()),
        Do("node", "link del cni0"),
        check("bridge", **gateway()),
        Do("node", "link add cni0 address 02:00:00:00:00:10 type veth peer name dev1 address 02:00:00:00:00:11"),
        check("bridge", **gateway()),
    ],
    "another kind of device": [
        add("bridge", **gateway()),
        on_pod1(add("bridge", **gateway())),
        Do("pod0", "link del eth0"),
        Do("pod0", "link add eth0 address 02:00:00:00:00:88 type bridge"),
        check("bridge", **gateway()),
    ],
    "tuning behind it": [
        add("bridge", **gateway()),
        then("tuning", mac="02:00:00:00:00:77", mtu=1300),
        delete("tuning"),
        delete("bridge", **gateway()),
    ],
}
HOST_LOCALS: dict[str, list[Step]] = {
    "one": [add("host-local", ipam=HOST_LOCAL), check("host-local", ipam=HOST_LOCAL)],
    "again": [
        add("host-local", ipam=HOST_LOCAL),
        delete("host-local", ipam=HOST_LOCAL),
        delete("host-local", ipam=HOST_LOCAL),
        add("host-local", ipam=HOST_LOCAL),
    ],
    "twice": [add("host-local", ipam=HOST_LOCAL), add("host-local", ipam=HOST_LOCAL)],
    "two ranges": [add("host-local", ipam=ranges({"subnet": "10.244.1.0/24"}, {"subnet": "10.55.0.0/16"}))],
    "overlap": [add("host-local", ipam=ranges({"subnet": "10.244.1.0/24"}, {"subnet": "10.244.0.0/16"}))],
    "alternatives": [
        on_pod1(add("host-local", ipam=each)) if number else add("host-local", ipam=each)
        for number, each in enumerate(
            2
            * [
                {
                    "type": "host-local",
                    "ranges": [
                        [
                            {"subnet": "10.244.1.0/24", "rangeStart": "10.244.1.2", "rangeEnd": "10.244.1.2"},
                            {"subnet": "10.244.2.0/24"},
                        ]
                    ],
                }
            ]
        )
    ],
    "own gateway": [add("host-local", ipam=ranges({"subnet": "10.244.1.0/24", "gateway": "10.244.1.254"}))],
    "/30": [
        add("host-local", ipam=ranges({"subnet": "10.9.9.0/30"})),
        on_pod1(add("host-local", ipam=ranges({"subnet": "10.9.9.0/30"}))),
    ],
    "/31": [add("host-local", ipam=ranges({"subnet": "10.9.9.0/31"}))],
    "host bits": [add("host-local", ipam=ranges({"subnet": "10.9.9.3/24"}))],
    "start outside": [add("host-local", ipam=ranges({"subnet": "10.9.9.0/24", "rangeStart": "10.9.8.1"}))],
    "end outside": [add("host-local", ipam=ranges({"subnet": "10.9.9.0/24", "rangeEnd": "10.9.8.1"}))],
    "no ranges": [add("host-local", ipam={"type": "host-local"})],
    "no ipam": [add("host-local")],
    "old subnet": [add("host-local", ipam={"type": "host-local", "subnet": "10.3.0.0/16", "routes": [ALL]})],
    "asked for": [
        add("host-local", ipam=HOST_LOCAL, args={"cni": {"ips": ["10.244.1.77"]}}),
        on_pod1(add("host-local", ipam=HOST_LOCAL, args={"cni": {"ips": ["10.244.1.77"]}})),
    ],
    "asked for the gateway": [add("host-local", ipam=HOST_LOCAL, args={"cni": {"ips": ["10.244.1.1"]}})],
    "asked for another subnet's": [with_args("IP=10.9.9.9", "host-local", ipam=HOST_LOCAL)],
    "check of nothing": [check("host-local", ipam=HOST_LOCAL)],
    "ranges of the runtime": [
        add("host-local", ipam={"type": "host-local"}, runtimeConfig={"ipRanges": [[{"subnet": "10.6.0.0/24"}]]})
    ],
}
LOOPBACK: dict[str, list[Step]] = {
    "up": [Do("pod0", "link set lo down"), add("loopback"), check("loopback")],
    "down": [add("loopback"), delete("loopback"), check("loopback"), delete("loopback")],
    "behind another": [add("bridge", **gateway()), then("loopback")],
    "del without a namespace": [Call("DEL", "loopback", {}, netns=False)],
}
TABLES = {"bridge": BRIDGE, "host-local": HOST_LOCALS, "loopback": LOOPBACK}
CASES = [(kind, name, steps) for kind, table in TABLES.items() for name, steps in table.items()]


@pytest.mark.parametrize(("kind", "name", "steps"), CASES, ids=[f"{kind}-{name}" for kind, name, _ in CASES])
def test_the_same_on_both_sides(kind: str, name: str, steps: list[Step]) -> None:
    compare(steps)
