"""Captures with bytes changed, cut out and put in: no exception, an end for each packet, and no packet of the cluster is lost.

10,000 of them: EMU_EXAMPLES=50.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.clock import SECOND
from emu.kube.cluster import Cluster
from emu.testing.strategies import examples
from replayed import DATA, cluster, conserved, replay

pytestmark = pytest.mark.slow

CAPTURES = sorted(DATA.glob("*.pcap"))
SERVERS = ("svc/web:80", "default/web", "node/node-2", "")
_KEPT: list[Cluster] = []


def where() -> Cluster:
    """One cluster for all: what one replay leaves must not disturb the next."""
    if not _KEPT:
        _KEPT.append(cluster())
    return _KEPT[0]


def mutated(data: bytes, seed: int, times: int) -> bytes:
    source, found = random.Random(seed), bytearray(data)
    for _ in range(times):
        if len(found) < 40:
            break
        at, size = source.randrange(24, len(found)), source.randrange(1, 40)
        match source.randrange(4):
            case 0:
                found[at] = source.randrange(256)
            case 1:
                found[at] ^= 1 << source.randrange(8)
            case 2:
                del found[at : at + size]
            case 3:
                found[at:at] = source.randbytes(size)
    return bytes(found)


@examples(200)
@given(
    path=st.sampled_from(CAPTURES),
    seed=st.integers(0, 1 << 32),
    times=st.sampled_from([1, 2, 5, 20]),
    mode=st.sampled_from(["stateful", "frames", "at"]),
    server=st.sampled_from(SERVERS),
    multiplier=st.sampled_from([1.0, 0.0, 100.0]),
)
def test_no_capture_raises_or_loses_a_packet(
    path: Path, seed: int, times: int, mode: str, server: str, multiplier: float
) -> None:
    here = where()
    settings: dict[str, Any] = {"at": "node-1/eth0"} if mode == "at" else {"mode": mode}
    data = mutated(path.read_bytes(), seed, times)
    if not data[24:]:
        return
    seen = replay(here, data, server=server, multiplier=multiplier, **settings)
    assert all(each.verdict for each in seen.packets)
    assert here.flows == {}
    here.clock.run_until(
        here.clock.now + 40 * SECOND
    )  # neighbours and datagrams that are not whole have failed by then
    assert conserved(here)
