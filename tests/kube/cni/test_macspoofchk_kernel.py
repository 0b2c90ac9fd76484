"""`macspoofchk` of bridge beside the real plugin on this machine's kernel: the table of nftables, and what it drops."""

from __future__ import annotations

import shutil

import pytest

from cni_bridge_cases import SOURCES
from cni_cases import compare, needs

pytestmark = [*needs("bridge", "host-local", "static"), pytest.mark.skipif(not shutil.which("nft"), reason="no nft")]


@pytest.mark.parametrize("name", [name for name in SOURCES if "vlan" not in name])
def test_the_same_on_both_sides(name: str) -> None:
    compare(SOURCES[name], f"bridge: {name}")
