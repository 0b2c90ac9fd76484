"""A capture that streams to disk: the same frames, words and files as one in memory, and a memory that does not grow."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

import pytest

from emu.capture.capture import Capture
from emu.capture.shelved import Shelved
from emu.errors import InputError
from emu.kube.cluster import Cluster

PODS = """\
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: a}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-2, containers: [{name: a, ports: [{containerPort: 80}]}]}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
"""


def talked(flows: int, *, streams: bool, held: int = 0, piece: int = 8) -> Cluster:
    """A cluster after some flows of three kinds: to the Service, to a port where nothing listens, by UDP."""
    cluster = Cluster(2, PODS)
    assert cluster.capture is not None
    if streams:
        cluster.capture.stream(held=held, piece=piece)
    for _ in range(flows):
        cluster.tcp("default/client", "svc/web:80", b"x")
        cluster.tcp("default/client", "default/web:81")
        cluster.udp("default/client", "default/web:9", timeout_s=0.1)
    return cluster


def captured(cluster: Cluster) -> Capture:
    assert cluster.capture is not None
    return cluster.capture


@pytest.fixture(scope="module")
def held() -> Cluster:
    return talked(5, streams=False)


@pytest.fixture(scope="module")
def streamed() -> Cluster:
    cluster = talked(5, streams=True)
    spool = captured(cluster).log.spool
    assert spool is not None
    assert len(spool) > 400
    return cluster


def test_all_frames_are_there_with_all_that_is_known_of_them(held: Cluster, streamed: Cluster) -> None:
    known = [
        [
            (each.number, each.flow, each.hop, each.time_ns, each.data, each.interface, each.way, each.packet_number, each.cause, each.line(), each.comment())
            for each in captured(cluster).frames()
        ]
        for cluster in (held, streamed)
    ]  # fmt: skip
    assert known[0] == known[1]


@pytest.mark.parametrize(
    "selection",
    [
        {},
        {"flow": 2},
        {"flows": [1, 3, 14], "background": True},
        {"interface": "node-1/*"},
        {"flow": 4, "interface": "node-2/cbr0"},
        {"background": False},
        {"since": 30, "until": 61},
        {"flow": 99},
    ],
)
def test_each_selection_has_the_same_file(
    held: Cluster, streamed: Cluster, tmp_path: Path, selection: dict[str, object]
) -> None:
    counts = [
        captured(cluster).write(tmp_path / name, **selection)  # type: ignore[arg-type]
        for name, cluster in (("held", held), ("streamed", streamed))
    ]
    assert counts[0] == counts[1]
    assert (tmp_path / "held").read_bytes() == (tmp_path / "streamed").read_bytes()


def test_each_interface_has_the_same_pcap(held: Cluster, streamed: Cluster, tmp_path: Path) -> None:
    for name, cluster in (("held", held), ("streamed", streamed)):
        captured(cluster).write_split(tmp_path / name)
    names = sorted(each.name for each in (tmp_path / "held").iterdir())
    assert names == sorted(each.name for each in (tmp_path / "streamed").iterdir())
    assert [(tmp_path / "held" / each).read_bytes() for each in names] == [
        (tmp_path / "streamed" / each).read_bytes() for each in names
    ]


def test_frames_that_come_later_are_numbered_on(tmp_path: Path) -> None:
    known: list[list[tuple[int, int]]] = []
    for cluster in (talked(2, streams=False), talked(2, streams=True)):
        capture = captured(cluster)
        mark = capture.mark()
        cluster.ping("default/client", "default/web")
        capture.write(tmp_path / str(len(known)), since=mark)
        known.append([(each.number, each.hop) for each in capture.frames(since=mark)])
    assert known[0] == known[1]
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


def test_objects_do_not_grow_with_flows() -> None:
    cluster = talked(0, streams=True, piece=64)

    def alive_after(flows: int) -> Counter[str]:
        for _ in range(flows // 10):
            for _ in range(5):
                cluster.tcp("default/client", "svc/web:80", b"x")
                cluster.tcp("default/client", "default/web:81")
            cluster.flows.clear()
            cluster.wait(130)  # TIME_WAIT is over, for sockets and in conntrack
        for node in cluster.nodes.values():
            node.net.conntrack.sweep()
        gc.collect()
        return Counter(str(type(each)) for each in gc.get_objects())

    alive_after(100)
    first = alive_after(100)
    more = alive_after(300) - first
    spool = captured(cluster).log.spool
    assert spool is not None
    assert len(spool) > 20_000
    assert sum(more.values()) < 100, more.most_common(5)
    assert spool.shared < 100


def test_a_capture_streams_or_records() -> None:
    streams, records = Cluster(1, ()), Cluster(1, ())
    captured(streams).stream()
    captured(records).record()
    with pytest.raises(InputError, match="records no states"):
        captured(streams).record()
    with pytest.raises(InputError, match="held in memory"):
        captured(records).stream()


def test_a_cluster_is_copied_before_it_streams() -> None:
    cluster = talked(0, streams=True)
    cluster.fork().ping("default/client", "default/web")
    cluster.ping("default/client", "default/web")
    with pytest.raises(InputError, match="streams to disk cannot be copied"):
        cluster.fork()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    cluster = Cluster(2, PODS)
    captured(cluster).stream(tmp_path / "none", held=0, piece=8)
    with pytest.raises(InputError, match="No such file"):
        cluster.tcp("default/client", "svc/web:80", b"x")


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    cluster = Cluster(2, PODS)
    captured(cluster).stream(tmp_path, held=0, piece=8)
    cluster.tcp("default/client", "svc/web:80", b"x")
    assert captured(cluster).log.spool
    assert list(tmp_path.iterdir()) == []


def test_values_come_back_equal_and_shared_ones_as_they_were() -> None:
    class Shared:
        __hash__ = None  # type: ignore[assignment]

    one, shelved = Shared(), Shelved(None)
    values = [(1, True, b"x"), [one, one], {"a": (one, 1.5)}]
    numbers = [shelved.append(each) for each in values]
    assert [shelved.read(number) for number in numbers] == values
    assert shelved.read(1)[0] is one
    assert shelved.shared == 1
