"""emu.testing for users: the plugin's fixtures, the walk that it prints, and invariants that fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emu.lab import Lab
from emu.testing import invariants
from emu.testing.strategies import Spot, Topology, Traffic

pytestmark = pytest.mark.slow  # commands in processes of their own

FAILING = """
def test_a_lab(lab):
    one, other = lab.host("one"), lab.host("other")
    lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24")
    one.sockets.ping(1).send("10.0.0.2")
    assert not lab.frames()

def test_a_cluster(cluster_factory):
    cluster = cluster_factory(1)
    assert cluster_factory(1) is not cluster
    assert cluster.ping("node/node-1", "external").delivered
    assert False

def test_that_holds(lab, cluster_factory):
    pass
"""


def test_the_plugin_prints_the_walk_of_a_failure(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(FAILING)
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "emu.testing.plugin", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True, check=False)
    assert "2 failed, 1 passed" in done.stdout, done.stdout
    assert done.stdout.count("emu: the walk") >= 2
    assert "10.0.0.1>10.0.0.2 ttl64 DF ICMP" in done.stdout
    assert "node-1/eth0" in done.stdout


def lab_with_traffic() -> Lab:
    network = Topology(2, (Spot(0, True), Spot(1, False))).build()
    network.send(Traffic(0, 1), 1)
    network.lab.run(1)
    return network.lab


@pytest.mark.parametrize(
    ("name", "at", "text"),
    [
        ("ttl_falls", 22, "TTL"),
        ("checksums_hold", 24, "IP_CSUM at"),
        ("checksums_hold", 45, "a wrong checksum behind the IP header"),
        ("reply_source", 35, "h0 is answered"),
    ],
)
def test_an_invariant_sees_a_changed_byte(name: str, at: int, text: str) -> None:
    """A frame of the log is falsified: one byte that no hop may write."""
    lab = lab_with_traffic()
    invariants.hold(lab)
    assert lab.capture is not None
    log = lab.capture.log
    last = [frame.number for frame in lab.frames("h0/eth0") if frame.flow and frame.direction == "in"][-1]
    data = bytearray(log.entries[log.open.positions[last]])
    data[at] ^= 1
    if name == "ttl_falls":
        data[24] += 1 if data[at] < 62 else -1  # a right checksum, so that it is read as a packet
    log.entries[log.open.positions[last]] = bytes(data)
    with pytest.raises(AssertionError, match=text) as failure:
        invariants.INVARIANTS[name](lab)
    assert "10.1.2.2>10.0.0.2" in str(failure.value), "with the road"


def test_a_lost_count_is_seen() -> None:
    lab = lab_with_traffic()
    lab.namespaces["r0"].absorbed += 1
    with pytest.raises(AssertionError, match="packets came into being"):
        invariants.one_outcome(lab)
    assert [name for name, _ in invariants.broken(lab)] == ["one_outcome"]
