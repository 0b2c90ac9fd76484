"""Felix's rules of one node: dispatch to the chains of each workload, and what every node has. Pure.

A workload's policies are called tier by tier; without any, its profiles allow.
Source: felix/rules of projectcalico/calico 1ed57381 (June 2025). Must not know how rules come into a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from emu.kube.networks.calico.chains import PREFIX, Lines, Tables, comment, limited
from emu.kube.networks.calico.marks import (
    ACCEPTED,
    ALL_BITS,
    PASSED,
    SCRATCH_0,
    clear,
    goto,
    jump,
    marked,
    put,
    unmarked,
)
from emu.kube.networks.calico.pool import DEVICE, IPIP, VXLAN, VXLAN_PORT

MASQ_POOLS, ALL_POOLS = "cali40masq-ipam-pools", "cali40all-ipam-pools"
ALL_HOSTS, VXLAN_HOSTS = "cali40all-hosts-net", "cali40all-vxlan-net"

_ANY_WORKLOAD = "cali+"
_NONE: Mapping[str, Lines] = MappingProxyType({})


class Workload(NamedTuple):
    """A pod of the node: its device, the profiles that it has, in order, and the calls of its policies."""

    device: str
    profiles: tuple[str, ...]
    ingress: Lines = ()
    egress: Lines = ()


_ACCEPT, _DROP, _RETURN, _NOTRACK = map(jump, ("ACCEPT", "DROP", "RETURN", "NOTRACK"))
_ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED"
_HOST_ACCEPTED = comment("Host endpoint policy accepted packet.")
_TO_VXLAN = f"-p 17 -m multiport --destination-ports {VXLAN_PORT}"


def compiled(
    workloads: Sequence[Workload],
    tunnel: str,
    *,
    masquerades: bool,
    policies: Mapping[str, Lines] = _NONE,
    before: Tables | None = None,
) -> Tables:
    """`tunnel`: VXLAN or IPIP where the pool uses one, "" for none; `masquerades`: its pods' packets to the outside. `policies` are the
    chains that workloads call; `before`: what was compiled for the node last."""
    chains: dict[str, dict[str, Lines]] = {
        "raw": _raw(tunnel),
        "mangle": _mangle(),
        "nat": _nat(tunnel, masquerades),
        "filter": {**_filter(tunnel), **_workloads(workloads), **policies},
    }
    jumps = {name: (jump(f"{PREFIX}{name}"),) for name in ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")}
    first = {
        table: {name: jumps[name] for name in names.split()}
        for table, names in {
            "raw": "PREROUTING OUTPUT",
            "mangle": "PREROUTING POSTROUTING",
            "nat": "PREROUTING OUTPUT",
            "filter": "INPUT FORWARD OUTPUT",
        }.items()
    }
    last: dict[str, dict[str, Lines]] = {
        # behind kube-proxy's, whose mark is gone by then: a tunnel's outer packet would have it too
        "nat": {"POSTROUTING": jumps["POSTROUTING"]},
        "filter": {
            "FORWARD": (
                f"{comment('Policy explicitly accepted packet.')} {marked(ACCEPTED)} {_ACCEPT}",
                put(ACCEPTED),
            )
        },
    }
    return Tables(chains, first, last, before)


# -- what every node has --------------------------------------------------------------------------


def _raw(tunnel: str) -> dict[str, Lines]:
    untracked = (f"-p udp --dport {VXLAN_PORT} {_NOTRACK}",) if tunnel == VXLAN else ()
    workload = marked(SCRATCH_0)
    return {
        "cali-PREROUTING": (
            clear(ALL_BITS),
            *untracked,
            f"--in-interface {_ANY_WORKLOAD} {put(SCRATCH_0)}",
            f"{workload} {jump('cali-rpf-skip')}",
            f"{workload} -m rpfilter --invert --validmark {_DROP}",
            f"{unmarked(SCRATCH_0)} {jump('cali-from-host-endpoint')}",
            f"{marked(ACCEPTED)} {_ACCEPT}",
        ),
        "cali-OUTPUT": (
            clear(ALL_BITS),
            jump("cali-to-host-endpoint"),
            *untracked,
            f"{marked(ACCEPTED)} {_ACCEPT}",
        ),
        **_empty("cali-rpf-skip", "cali-from-host-endpoint", "cali-to-host-endpoint"),
    }


def _mangle() -> dict[str, Lines]:
    return {
        "cali-PREROUTING": (
            f"{_ESTABLISHED} {_ACCEPT}",
            f"{marked(ACCEPTED)} {_ACCEPT}",
            jump("cali-from-host-endpoint"),
            f"{_HOST_ACCEPTED} {marked(ACCEPTED)} {_ACCEPT}",
        ),
        "cali-POSTROUTING": (
            f"{marked(ACCEPTED)} {_RETURN}",
            clear(ALL_BITS),
            f"-m conntrack --ctstate DNAT {jump('cali-to-host-endpoint')}",
            f"{_HOST_ACCEPTED} {marked(ACCEPTED)} {_RETURN}",
        ),
        **_empty("cali-from-host-endpoint", "cali-to-host-endpoint"),
    }


def _nat(tunnel: str, masquerades: bool) -> dict[str, Lines]:
    """What the node itself sends into the tunnel from another of its addresses takes the tunnel's."""
    local = "-m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL"
    into = (f"--out-interface {DEVICE[tunnel]} {local} --jump MASQUERADE --random-fully",) if tunnel else ()
    outside = f"-m set --match-set {MASQ_POOLS} src -m set ! --match-set {ALL_POOLS} dst"
    return {
        "cali-PREROUTING": (jump("cali-fip-dnat"),),
        "cali-OUTPUT": (jump("cali-fip-dnat"),),
        "cali-POSTROUTING": (jump("cali-fip-snat"), jump("cali-nat-outgoing"), *into),
        "cali-nat-outgoing": (f"{outside} --jump MASQUERADE --random-fully",) if masquerades else (),
        **_empty("cali-fip-dnat", "cali-fip-snat"),
    }


def _filter(tunnel: str) -> dict[str, Lines]:
    local, from_local = "-m addrtype --dst-type LOCAL", "-m addrtype --src-type LOCAL"
    tunnelled: Mapping[str, Lines] = {
        VXLAN: (
            f"{comment('Allow IPv4 VXLAN packets from allowed hosts')} {_TO_VXLAN} -m set --match-set {VXLAN_HOSTS} src {local} {_ACCEPT}",
            f"{comment('Drop IPv4 VXLAN packets from non-allowed hosts')} {_TO_VXLAN} {local} {_DROP}",
        ),
        IPIP: (
            f"{comment('Allow IPIP packets from Calico hosts')} -p 4 -m set --match-set {ALL_HOSTS} src {local} {_ACCEPT}",
            f"{comment('Drop IPIP packets from non-Calico hosts')} -p 4 {_DROP}",
        ),
    }
    sent: Mapping[str, Lines] = {
        VXLAN: (
            f"{comment('Allow IPv4 VXLAN packets to other allowed hosts')} {_TO_VXLAN} {from_local} -m set --match-set {VXLAN_HOSTS} dst {_ACCEPT}",
        ),
        IPIP: (
            f"{comment('Allow IPIP packets to other Calico hosts')} -p 4 -m set --match-set {ALL_HOSTS} dst {from_local} {_ACCEPT}",
        ),
    }
    return {
        "cali-INPUT": (
            *tunnelled.get(tunnel, ()),
            f"--in-interface {_ANY_WORKLOAD} {goto('cali-wl-to-host')}",
            f"{marked(ACCEPTED)} {_ACCEPT}",
            clear(ALL_BITS),
            jump("cali-from-host-endpoint"),
            f"{_HOST_ACCEPTED} {marked(ACCEPTED)} {_ACCEPT}",
        ),
        "cali-wl-to-host": (
            jump("cali-from-wl-dispatch"),
            f"{comment('Configured DefaultEndpointToHostAction')} {_ACCEPT}",
        ),
        "cali-FORWARD": (
            clear(ALL_BITS & ~ACCEPTED),
            f"{unmarked(ACCEPTED)} {jump('cali-from-hep-forward')}",
            f"--in-interface {_ANY_WORKLOAD} {jump('cali-from-wl-dispatch')}",
            f"--out-interface {_ANY_WORKLOAD} {jump('cali-to-wl-dispatch')}",
            jump("cali-to-hep-forward"),
            jump("cali-cidr-block"),
        ),
        "cali-OUTPUT": (
            f"{marked(ACCEPTED)} {_ACCEPT}",
            f"--out-interface {_ANY_WORKLOAD} {_RETURN}",
            *sent.get(tunnel, ()),
            clear(ALL_BITS),
            f"-m conntrack ! --ctstate DNAT {jump('cali-to-host-endpoint')}",
            f"{_HOST_ACCEPTED} {marked(ACCEPTED)} {_ACCEPT}",
        ),
        **_empty("cali-from-hep-forward", "cali-to-hep-forward", "cali-cidr-block"),
        **_empty("cali-from-host-endpoint", "cali-to-host-endpoint"),
    }


def _empty(*names: str) -> dict[str, Lines]:
    return dict.fromkeys(names, ())


# -- what each workload has -----------------------------------------------------------------------


def _workloads(workloads: Sequence[Workload]) -> dict[str, Lines]:
    chains: dict[str, Lines] = {}
    names = [each.device for each in workloads]
    for root, option, each in (("cali-from-wl-dispatch", "in", "fw"), ("cali-to-wl-dispatch", "out", "tw")):
        chains |= _dispatch(root, f"--{option}-interface", f"{PREFIX}{each}-", names)
    for workload in workloads:
        chains[limited("cali-tw-", workload.device)] = _endpoint("cali-pri-", workload.profiles, (), workload.ingress)
        encapsulated = (
            f"{comment('Drop VXLAN encapped packets originating in workloads')} {_TO_VXLAN} {_DROP}",
            f"{comment('Drop IPinIP encapped packets originating in workloads')} -p 4 {_DROP}",
        )
        chains[limited("cali-fw-", workload.device)] = _endpoint(
            "cali-pro-", workload.profiles, encapsulated, workload.egress
        )
    for profile in sorted({each for workload in workloads for each in workload.profiles}):
        for prefix, direction in (("cali-pri-", "ingress"), ("cali-pro-", "egress")):
            # the profile of a namespace allows all; that of a service account has no rules
            allow = f" {put(ACCEPTED)}" if profile.startswith("kns.") else ""
            chains[limited(prefix, profile)] = (comment(f"Profile {profile} {direction}") + allow,)
    return chains


def _dispatch(root: str, option: str, endpoint: str, names: Sequence[str]) -> dict[str, Lines]:
    """To each device's own chain; devices that have the first letter after the common ones in common share a chain in between."""
    unknown = f"{comment('Unknown interface')} {_DROP}"
    ordered = sorted(names)
    common = _common(ordered)
    groups: dict[str, list[str]] = {}
    for name in ordered:
        groups.setdefault(name[: len(common) + 1], []).append(name)
    lines, chains = [], dict[str, Lines]()
    for start, members in groups.items():
        to = [f"{option} {name} {goto(limited(endpoint, name))}" for name in members]
        if len(members) == 1:
            lines += to
        else:
            between = f"{root}-{start[len(common) :]}"
            lines.append(f"{option} {start}+ {goto(between)}")
            chains[between] = (*to, unknown)
    return {root: (*lines, unknown), **chains}


def _common(names: Sequence[str]) -> str:
    """What all of them begin with."""
    if not names:
        return ""
    first, last = min(names), max(names)
    return next((first[:at] for at, letter in enumerate(first) if letter != last[at : at + 1]), first)


def _endpoint(prefix: str, profiles: Sequence[str], encapsulated: Lines, policies: Lines = ()) -> Lines:
    """A workload's packets one way: what belongs to a connection passes; else a profile must accept. `policies` calls those of
    the workload."""
    asked = [
        line
        for profile in profiles
        for line in (
            jump(limited(prefix, profile)),
            f"{comment('Return if profile accepted')} {marked(ACCEPTED)} {_RETURN}",
        )
    ]
    return (
        f"{_ESTABLISHED} {_ACCEPT}",
        f"-m conntrack --ctstate INVALID {_DROP}",
        clear(ACCEPTED | PASSED),
        *encapsulated,
        *policies,
        *asked,
        f"{comment('Drop if no profiles matched')} {_DROP}",
    )
