"""Felix's rules of one node: dispatch to the chains of each workload, and what every node has. Pure.

There is no policy in them yet: a workload's profiles allow. `policies` is where a policy's chains will be called.
Source: felix/rules of projectcalico/calico 1ed57381 (June 2025). Must not know how rules come into a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from emu.kube.networks.calico.chains import PREFIX, Lines, Tables, comment, limited
from emu.kube.networks.calico.pool import DEVICE, IPIP, VXLAN, VXLAN_PORT

MASQ_POOLS, ALL_POOLS = "cali40masq-ipam-pools", "cali40all-ipam-pools"
ALL_HOSTS, VXLAN_HOSTS = "cali40all-hosts-net", "cali40all-vxlan-net"

_ACCEPTED, _PASSED, _SCRATCH_0, _SCRATCH_1 = 0x10000, 0x20000, 0x80000, 0x100000
_ALL_BITS = _ACCEPTED | _PASSED | _SCRATCH_0 | _SCRATCH_1
_ANY_WORKLOAD = "cali+"


class Workload(NamedTuple):
    """A pod of the node: its device, and the profiles that it has, in order."""

    device: str
    profiles: tuple[str, ...]


def _jump(target: str) -> str:
    return f"--jump {target}"


def _goto(target: str) -> str:
    return f"--goto {target}"


def _clear(bits: int) -> str:
    return f"--jump MARK --set-mark 0/{bits:#x}"


def _set(bits: int) -> str:
    return f"--jump MARK --set-mark {bits:#x}/{bits:#x}"


def _marked(bits: int) -> str:
    return f"-m mark --mark {bits:#x}/{bits:#x}"


def _unmarked(bits: int) -> str:
    return f"-m mark --mark 0/{bits:#x}"


_ACCEPT, _DROP, _RETURN, _NOTRACK = map(_jump, ("ACCEPT", "DROP", "RETURN", "NOTRACK"))
_ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED"
_HOST_ACCEPTED = comment("Host endpoint policy accepted packet.")
_TO_VXLAN = f"-p 17 -m multiport --destination-ports {VXLAN_PORT}"


def compiled(workloads: Sequence[Workload], tunnel: str, *, masquerades: bool) -> Tables:
    """`tunnel`: VXLAN or IPIP where the pool uses one, "" for none; `masquerades`: its pods' packets to the outside."""
    chains: dict[str, dict[str, Lines]] = {
        "raw": _raw(tunnel),
        "mangle": _mangle(),
        "nat": _nat(tunnel, masquerades),
        "filter": {**_filter(tunnel), **_workloads(workloads)},
    }
    jumps = {name: (_jump(f"{PREFIX}{name}"),) for name in ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")}
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
                f"{comment('Policy explicitly accepted packet.')} {_marked(_ACCEPTED)} {_ACCEPT}",
                _set(_ACCEPTED),
            )
        },
    }
    return Tables(chains, first, last)


# -- what every node has --------------------------------------------------------------------------


def _raw(tunnel: str) -> dict[str, Lines]:
    untracked = (f"-p udp --dport {VXLAN_PORT} {_NOTRACK}",) if tunnel == VXLAN else ()
    workload = _marked(_SCRATCH_0)
    return {
        "cali-PREROUTING": (
            _clear(_ALL_BITS),
            *untracked,
            f"--in-interface {_ANY_WORKLOAD} {_set(_SCRATCH_0)}",
            f"{workload} {_jump('cali-rpf-skip')}",
            f"{workload} -m rpfilter --invert --validmark {_DROP}",
            f"{_unmarked(_SCRATCH_0)} {_jump('cali-from-host-endpoint')}",
            f"{_marked(_ACCEPTED)} {_ACCEPT}",
        ),
        "cali-OUTPUT": (
            _clear(_ALL_BITS),
            _jump("cali-to-host-endpoint"),
            *untracked,
            f"{_marked(_ACCEPTED)} {_ACCEPT}",
        ),
        **_empty("cali-rpf-skip", "cali-from-host-endpoint", "cali-to-host-endpoint"),
    }


def _mangle() -> dict[str, Lines]:
    return {
        "cali-PREROUTING": (
            f"{_ESTABLISHED} {_ACCEPT}",
            f"{_marked(_ACCEPTED)} {_ACCEPT}",
            _jump("cali-from-host-endpoint"),
            f"{_HOST_ACCEPTED} {_marked(_ACCEPTED)} {_ACCEPT}",
        ),
        "cali-POSTROUTING": (
            f"{_marked(_ACCEPTED)} {_RETURN}",
            _clear(_ALL_BITS),
            f"-m conntrack --ctstate DNAT {_jump('cali-to-host-endpoint')}",
            f"{_HOST_ACCEPTED} {_marked(_ACCEPTED)} {_RETURN}",
        ),
        **_empty("cali-from-host-endpoint", "cali-to-host-endpoint"),
    }


def _nat(tunnel: str, masquerades: bool) -> dict[str, Lines]:
    """What the node itself sends into the tunnel from another of its addresses takes the tunnel's."""
    local = "-m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL"
    into = (f"--out-interface {DEVICE[tunnel]} {local} --jump MASQUERADE --random-fully",) if tunnel else ()
    outside = f"-m set --match-set {MASQ_POOLS} src -m set ! --match-set {ALL_POOLS} dst"
    return {
        "cali-PREROUTING": (_jump("cali-fip-dnat"),),
        "cali-OUTPUT": (_jump("cali-fip-dnat"),),
        "cali-POSTROUTING": (_jump("cali-fip-snat"), _jump("cali-nat-outgoing"), *into),
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
            f"--in-interface {_ANY_WORKLOAD} {_goto('cali-wl-to-host')}",
            f"{_marked(_ACCEPTED)} {_ACCEPT}",
            _clear(_ALL_BITS),
            _jump("cali-from-host-endpoint"),
            f"{_HOST_ACCEPTED} {_marked(_ACCEPTED)} {_ACCEPT}",
        ),
        "cali-wl-to-host": (
            _jump("cali-from-wl-dispatch"),
            f"{comment('Configured DefaultEndpointToHostAction')} {_ACCEPT}",
        ),
        "cali-FORWARD": (
            _clear(_ALL_BITS & ~_ACCEPTED),
            f"{_unmarked(_ACCEPTED)} {_jump('cali-from-hep-forward')}",
            f"--in-interface {_ANY_WORKLOAD} {_jump('cali-from-wl-dispatch')}",
            f"--out-interface {_ANY_WORKLOAD} {_jump('cali-to-wl-dispatch')}",
            _jump("cali-to-hep-forward"),
            _jump("cali-cidr-block"),
        ),
        "cali-OUTPUT": (
            f"{_marked(_ACCEPTED)} {_ACCEPT}",
            f"--out-interface {_ANY_WORKLOAD} {_RETURN}",
            *sent.get(tunnel, ()),
            _clear(_ALL_BITS),
            f"-m conntrack ! --ctstate DNAT {_jump('cali-to-host-endpoint')}",
            f"{_HOST_ACCEPTED} {_marked(_ACCEPTED)} {_ACCEPT}",
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
        chains[limited("cali-tw-", workload.device)] = _endpoint("cali-pri-", workload.profiles, ())
        encapsulated = (
            f"{comment('Drop VXLAN encapped packets originating in workloads')} {_TO_VXLAN} {_DROP}",
            f"{comment('Drop IPinIP encapped packets originating in workloads')} -p 4 {_DROP}",
        )
        chains[limited("cali-fw-", workload.device)] = _endpoint("cali-pro-", workload.profiles, encapsulated)
    for profile in sorted({each for workload in workloads for each in workload.profiles}):
        for prefix, direction in (("cali-pri-", "ingress"), ("cali-pro-", "egress")):
            # the profile of a namespace allows all; that of a service account has no rules
            allow = f" {_set(_ACCEPTED)}" if profile.startswith("kns.") else ""
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
        to = [f"{option} {name} {_goto(limited(endpoint, name))}" for name in members]
        if len(members) == 1:
            lines += to
        else:
            between = f"{root}-{start[len(common) :]}"
            lines.append(f"{option} {start}+ {_goto(between)}")
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
            _jump(limited(prefix, profile)),
            f"{comment('Return if profile accepted')} {_marked(_ACCEPTED)} {_RETURN}",
        )
    ]
    return (
        f"{_ESTABLISHED} {_ACCEPT}",
        f"-m conntrack --ctstate INVALID {_DROP}",
        _clear(_ACCEPTED | _PASSED),
        *encapsulated,
        *policies,
        *asked,
        f"{comment('Drop if no profiles matched')} {_DROP}",
    )
