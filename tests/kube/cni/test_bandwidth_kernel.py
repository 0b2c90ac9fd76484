"""bandwidth beside the real plugin on this machine's kernel: token buckets, ifb devices, redirects, errors."""

from __future__ import annotations

from typing import Any

import pytest

from cni_cases import HOST_LOCAL, compare, needs, on_pod1
from cni_pairs import Call, Do, Step, add, check, delete, then

pytestmark = needs("bandwidth", "bridge", "ptp", "host-local")
BRIDGE: dict[str, Any] = {"isGateway": True, "ipam": HOST_LOCAL}
BOTH: dict[str, Any] = {
    "ingressRate": 1_000_000,
    "ingressBurst": 1_000_000,
    "egressRate": 2_000_000,
    "egressBurst": 800_000,
}
INGRESS: dict[str, Any] = {"ingressRate": 123_456, "ingressBurst": 200_000}
EGRESS: dict[str, Any] = {"egressRate": 8_000_000_000, "egressBurst": 80_000_000}


def behind(*steps: Step, kind: str = "bridge", **conf: Any) -> list[Step]:
    return [add(kind, **(conf or BRIDGE)), *steps]


CASES: dict[str, list[Step]] = {
    "both": behind(then("bandwidth", **BOTH), check("bandwidth", **BOTH)),
    "behind ptp": behind(then("bandwidth", **BOTH), kind="ptp", ipam=HOST_LOCAL),
    "life": behind(
        then("bandwidth", **BOTH),
        check("bandwidth", **BOTH),
        delete("bandwidth", **BOTH),
        delete("bandwidth", **BOTH),
        check("bandwidth", **BOTH),
        delete("bridge", **BRIDGE),
        delete("bridge", **BRIDGE),
    ),
    "ingress": behind(then("bandwidth", **INGRESS), check("bandwidth", **INGRESS), delete("bandwidth", **INGRESS)),
    "egress": behind(then("bandwidth", **EGRESS), check("bandwidth", **EGRESS)),
    "of the runtime": behind(then("bandwidth", runtimeConfig={"bandwidth": BOTH})),
    "the configuration's before the runtime's": behind(then("bandwidth", **INGRESS, runtimeConfig={"bandwidth": BOTH})),
    "none": behind(then("bandwidth"), check("bandwidth"), delete("bandwidth")),
    "zeros": behind(then("bandwidth", ingressRate=0, ingressBurst=0)),
    "rate without burst": behind(then("bandwidth", ingressRate=1000)),
    "burst without rate": behind(then("bandwidth", egressBurst=1000), delete("bandwidth", egressBurst=1000)),
    "largest burst": behind(then("bandwidth", ingressRate=1000, ingressBurst=8 * ((1 << 32) - 1))),
    "large burst": behind(then("bandwidth", ingressRate=10**9, ingressBurst=1 << 32)),
    "small burst": behind(then("bandwidth", ingressRate=10_000, ingressBurst=800)),
    "no byte": behind(then("bandwidth", ingressRate=10**10, ingressBurst=8)),
    "rate is a word": behind(then("bandwidth", ingressRate="fast", ingressBurst=1)),
    "alone": [add("bandwidth", **BOTH), check("bandwidth", **BOTH), delete("bandwidth", **BOTH)],
    "alone and none": [add("bandwidth")],
    "twice": behind(then("bandwidth", **BOTH), then("bandwidth", **BOTH)),
    "egress twice": behind(then("bandwidth", **EGRESS), then("bandwidth", **EGRESS)),
    "two pods": behind(
        then("bandwidth", **BOTH), on_pod1(add("bridge", **BRIDGE)), on_pod1(then("bandwidth", **EGRESS))
    ),
    "no veth": [Do("pod0", "link set lo up"), add("loopback"), then("bandwidth", **BOTH)],
    "another name": behind(Call("ADD", "bandwidth", BOTH, ifname="net1")),
    "another rate": behind(
        then("bandwidth", **BOTH),
        check("bandwidth", **{**BOTH, "ingressRate": 2_000_000}),
        check("bandwidth", **{**BOTH, "ingressBurst": 2_000_000}),
        check("bandwidth", **{**BOTH, "egressRate": 1_000_000}),
        check("bandwidth", **INGRESS),
    ),
    "check of nothing": behind(check("bandwidth", **BOTH), check("bandwidth", **INGRESS)),
    "mtu": [add("bridge", mtu=1400, **BRIDGE), then("bandwidth", **EGRESS)],
    "0.3.0": [add("bridge", cniVersion="0.3.1", **BRIDGE), then("bandwidth", cniVersion="0.3.1", **BOTH)],
    "0.2.0": [add("bandwidth", cniVersion="0.2.0", **BOTH)],
    "without a namespace": behind(then("bandwidth", **BOTH), Call("DEL", "bandwidth", BOTH, netns=False)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_on_both_sides(name: str) -> None:
    compare(CASES[name], f"bandwidth: {name}")
