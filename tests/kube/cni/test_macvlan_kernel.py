"""macvlan beside the real plugin on this machine's kernel, sysctls and all; vlan and ipvlan as far as they need no device."""

from __future__ import annotations

import subprocess

import pytest

from cni_cases import compare, needs
from cni_pairs import Step
from cni_stacked_cases import CASES

pytestmark = needs("macvlan", "ipvlan", "vlan", "host-local", "static")
# what ends before a device is made
EARLY = ("no master", "mtu is a word", "unknown master", "del of nothing", "vlan 4095", "vlan -1", "mode l4")


def has(kind: str) -> bool:
    """Has this machine's kernel such devices?"""
    make = f"ip link add v0 type veth peer name v1 && ip link add link v0 name x0 type {kind}"
    return subprocess.run(["unshare", "-n", "sh", "-c", make], capture_output=True, check=False).returncode == 0


def asked(name: str) -> bool:
    kind, _, case = name.partition(": ")
    return kind == "macvlan" or case in EARLY


@pytest.mark.parametrize(("name", "steps"), [each for each in CASES.items() if asked(each[0])])
def test_the_same_on_both_sides(name: str, steps: list[Step]) -> None:
    if name.startswith("macvlan") and not has("macvlan"):
        pytest.skip("skipped: this kernel has no macvlan")
    compare(steps, name)
