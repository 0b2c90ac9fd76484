"""Calls of bridge with VLANs and with the check of source MACs. 1.1.1 leaves a port's default VLAN, as `preserveDefaultVlan`
does since. Must not know how they are run."""

from __future__ import annotations

from typing import Any

from cni_cases import HOST_LOCAL, on_pod1, static
from cni_pairs import Call, Do, Step, add, check, delete

VLAN: dict[str, Any] = {"vlan": 5, "preserveDefaultVlan": True}
GATEWAY: dict[str, Any] = {**VLAN, "isGateway": True, "ipam": HOST_LOCAL}
OTHER: dict[str, Any] = {**GATEWAY, "vlan": 6, "ipam": static("10.6.0.5/24 10.6.0.1")}
SPOOF: dict[str, Any] = {"macspoofchk": True, "isGateway": True, "ipam": HOST_LOCAL}
LAYER2: dict[str, Any] = {"macspoofchk": True}

VLANS: dict[str, list[Step]] = {
    "vlan": [add("bridge", ipam=HOST_LOCAL, **VLAN), check("bridge", ipam=HOST_LOCAL, **VLAN)],
    "vlan, layer 2": [add("bridge", **VLAN), delete("bridge", **VLAN), delete("bridge", **VLAN)],
    "vlan, gateway": [add("bridge", **GATEWAY), check("bridge", **GATEWAY)],
    "vlan, gateway gone": [add("bridge", **GATEWAY), delete("bridge", **GATEWAY), delete("bridge", **GATEWAY)],
    "vlan, two pods": [add("bridge", **GATEWAY), on_pod1(add("bridge", **GATEWAY))],
    "vlan, two vlans": [add("bridge", **GATEWAY), on_pod1(add("bridge", **OTHER))],
    "vlan, two addresses": [
        add("bridge", **{**GATEWAY, "ipam": static("10.6.0.5/24 10.6.0.1", "10.7.0.5/24 10.7.0.1")})
    ],
    "vlan, another gateway": [
        add("bridge", **GATEWAY),
        on_pod1(add("bridge", **{**GATEWAY, "ipam": static("10.6.0.5/24 10.6.0.1")})),
    ],
    "vlan, another gateway by force": [
        add("bridge", **GATEWAY),
        on_pod1(add("bridge", forceAddress=True, **{**GATEWAY, "ipam": static("10.6.0.5/24 10.6.0.1")})),
    ],
    "vlan, default gateway": [add("bridge", isDefaultGateway=True, **{**VLAN, "ipam": static("10.6.0.5/24 10.6.0.1")})],
    "vlan, hairpin, mtu": [add("bridge", hairpinMode=True, mtu=1400, **GATEWAY)],
    "vlan of an old bridge": [add("bridge", isGateway=True, ipam=HOST_LOCAL), on_pod1(add("bridge", **OTHER))],
    "vlan, a gateway that is there": [
        Do("node", "link add cni0.5 address 02:00:00:00:00:10 type veth peer name dev1 address 02:00:00:00:00:11"),
        add("bridge", **GATEWAY),
    ],
    "vlan, a long name": [add("bridge", bridge="bridge-of-pods", **GATEWAY)],
    "vlan, twice": [add("bridge", **GATEWAY), add("bridge", **GATEWAY)],
    "vlan, no addresses": [add("bridge", **{**GATEWAY, "ipam": static()})],
    "vlan 4094": [add("bridge", **{**GATEWAY, "vlan": 4094})],
    "vlan 4095": [add("bridge", **{**GATEWAY, "vlan": 4095}), delete("bridge", **{**GATEWAY, "vlan": 4095})],
    "vlan below 0": [add("bridge", **{**GATEWAY, "vlan": -1})],
    "vlan 1": [add("bridge", **{**GATEWAY, "vlan": 1})],
    "vlan, 0.3.1": [add("bridge", cniVersion="0.3.1", **GATEWAY)],
}
SOURCES: dict[str, list[Step]] = {
    "macspoofchk": [add("bridge", **SPOOF), check("bridge", **SPOOF)],
    "macspoofchk, two pods": [add("bridge", **SPOOF), on_pod1(add("bridge", **SPOOF))],
    "macspoofchk, life": [
        add("bridge", **SPOOF),
        on_pod1(add("bridge", **SPOOF)),
        delete("bridge", **SPOOF),
        delete("bridge", **SPOOF),
    ],
    "macspoofchk, the last one gone": [add("bridge", **SPOOF), delete("bridge", **SPOOF)],
    "macspoofchk, layer 2": [add("bridge", **LAYER2)],
    "macspoofchk, del without a namespace": [add("bridge", **SPOOF), Call("DEL", "bridge", SPOOF, netns=False)],
    "macspoofchk, a failed add": [add("bridge", macspoofchk=True, ipam=static())],
    "macspoofchk, two interfaces": [
        add("bridge", **SPOOF), Call("ADD", "bridge", LAYER2, ifname="net1", chained=False),
        Call("DEL", "bridge", LAYER2, ifname="net1"),
    ],
    "macspoofchk, not at del": [add("bridge", **SPOOF), delete("bridge", isGateway=True, ipam=HOST_LOCAL)],
    "macspoofchk, mac": [add("bridge", args={"cni": {"mac": "02:00:00:00:00:55"}}, **SPOOF)],
    "macspoofchk and vlan": [add("bridge", **{**GATEWAY, "macspoofchk": True})],
}  # fmt: skip
CASES = {f"bridge: {name}": steps for table in (VLANS, SOURCES) for name, steps in table.items()}
# a port's carrier comes late there
del CASES["bridge: macspoofchk, a failed add"]
