"""What the tables of CNI calls share: IPAM objects, calls in other forms, and how lines of emu's become those of 1.1.1.

Where the plugins' later releases print an error in other words, `WORDS` has both; where they do another thing, `OUTCOMES`
has. Must not know a plugin's keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cni_pairs import Call, Step, both, emulated_alone
from emu.twin.cni import FOLDER
from twins import needs_twin


def needs(*plugins: str) -> list[pytest.MarkDecorator]:
    """The marks of a test that asks these plugins."""
    lost = any(not (FOLDER / each).is_file() for each in plugins)
    reason = f"skipped: no CNI plugins in {FOLDER} (Debian: containernetworking-plugins)"
    return [*needs_twin, pytest.mark.skipif(lost, reason=reason)]


# the words of the plugins' later releases, which emu has, as patterns, and those of 1.1.1
WORDS: list[tuple[str, Any]] = [
    (r'container veth name \("(\S+)"\) peer provided \("\S+"\) already', r"container veth name provided (\1) already"),
    (r"add route '\{Dst:\{IP:(\S+) Mask:(\S+)\} GW:[^}]*\}", r"add route '{\1 \2}"),
    # 1.1.1 prints the mask of a default route of its own as of an IPv6 address
    (r"(\{0\.0\.0\.0 )00000000(\} via \S+ dev \S+: file exists)", r"\g<1>00000000000000000000ffff00000000\2"),
    # macvlan's errors began with capitals
    (
        r"macvlan: 999 (required|container|error|interface|sandbox)\b",
        lambda found: found[0][: -len(found[1])] + found[1].capitalize(),
    ),
    (r" MTU:0 AdvMSS:0 Priority:0 Table:<nil> Scope:<nil>\}", "}"),
]

OUTCOMES = {
    # a DEL whose interface is gone has nothing to do
    "DEL sbr: 999 Failed to get link eth0: Link not found": "DEL sbr: {}",
}


ALL = {"dst": "0.0.0.0/0"}
HOST_LOCAL: dict[str, Any] = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.244.1.0/24"}]],
    "routes": [ALL],
}


def static(*addresses: str, routes: Any = (), **more: Any) -> dict[str, Any]:
    """`ADDRESS` or `ADDRESS GATEWAY`, each one."""
    pairs = [dict(zip(("address", "gateway"), each.split(), strict=False)) for each in addresses]
    return {"type": "static", "addresses": pairs, "routes": list(routes), **more}


ONE = static("10.1.0.5/24 10.1.0.1", routes=[ALL])
TWO = static(
    "10.1.0.5/24 10.1.0.1",
    "10.2.0.5/24 10.2.0.1",
    routes=[{"dst": "192.168.0.0/16", "gw": "10.2.0.1"}, ALL],
)


def with_args(text: str, kind: str = "static", chained: bool = False, **conf: Any) -> Call:
    return Call("ADD", kind, conf, args=text, chained=chained)


def on_pod1(call: Call) -> Call:
    return Call(call.command, call.kind, call.conf, pod=1, chained=call.chained)


def plain(line: str) -> str:
    """A line without the words of the library that reads JSON."""
    return re.sub(
        r"(failed to parse network configuration|failed to load netconf|failed to load netConf|failed to parse config): .*",
        r"\1",
        line,
    )


def of_1_1_1(line: str) -> str:
    """A line of emu's in the words of 1.1.1."""
    for new, old in WORDS:
        line = re.sub(new, old, line)
    return line


def compare(steps: Sequence[Step], name: str = "") -> None:
    """The real plugins and emu's print the same, and leave the same. `name` is the case's in `SINCE`."""
    kernel, emulated = both(steps)
    theirs = [plain(SINCE.get((name, line), OUTCOMES.get(line, line))) for line in kernel]
    assert [plain(of_1_1_1(line)) for line in emulated] == theirs


RECORDED = Path(__file__).parents[1] / "reference" / "recorded" / "cni.json"
# What 1.1.1 answers and today's source does not: the case, the line of 1.1.1, and that of today
SINCE = {
    # the CHECK of vrf found nothing wrong
    ("vrf: life", "CHECK vrf: {}"): "CHECK vrf: 999 Link not found",
    ("vrf: not a vrf", "CHECK vrf: {}"): "CHECK vrf: 999 Netlink red is not a VRF",
    ("vrf: released by hand", "CHECK vrf: {}"): "CHECK vrf: 999 failed to find eth0 associated to vrf red",
    ("vrf: interface gone", "CHECK vrf: {}"): "CHECK vrf: 999 failed to find eth0 associated to vrf red",
    # 1.1.1 ends by a nil pointer where there is no limit
    ("bandwidth: none", "CHECK bandwidth: None None"): "CHECK bandwidth: {}",
    (
        "bandwidth: alone and none",
        "ADD bandwidth: None None",
    ): "ADD bandwidth: 999 netplugin failed with no error message",
    ("macvlan: no master", "DEL macvlan: 999 no default route interface found"): "DEL macvlan: {}",
    ("macvlan: master gone", "DEL macvlan: 999 Link not found"): "DEL macvlan: {}",
}


@cache
def recorded() -> dict[str, list[str]]:
    """What the plugins 1.1.1 left on a kernel that has every kind of device, without sysctls."""
    found: dict[str, list[str]] = json.loads(RECORDED.read_text())["cases"]
    return found


# a route of a VRF's table through a gateway, and one of a connected subnet
_SAVED = re.compile(r"(\S+ routes: table (?!25[45] )\d+ unicast \S+) via ")


def _without_saved_routes(ours: list[str], theirs: list[str]) -> tuple[list[str], list[str]]:
    """vrf 1.1.1 lost the routes through gateways; today's source puts them into the VRF's table, in the place of connected
    ones to the same subnet."""
    saved = {found[1] for line in ours if (found := _SAVED.match(line))}
    kept = [line for line in theirs if not any(line.startswith(f"{each} dev ") for each in saved)]
    return [line for line in ours if not _SAVED.match(line)], kept


def compare_recorded(name: str, steps: Sequence[Step]) -> None:
    """emu's plugins print and leave what the real ones did when they were recorded."""
    theirs = [plain(SINCE.get((name, line), OUTCOMES.get(line, line))) for line in recorded()[name]]
    ours = [plain(of_1_1_1(line)) for line in emulated_alone(steps)]
    if name.startswith("vrf: "):
        ours, theirs = _without_saved_routes(ours, theirs)
    if name.startswith("bridge: vlan"):  # a bridge without a set address bears its lowest port's, and those are drawn
        ours, theirs = (sorted(re.sub(r"MAC[\d?]", "MAC", line) for line in lines) for lines in (ours, theirs))
    assert ours == theirs
