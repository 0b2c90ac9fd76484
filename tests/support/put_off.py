"""Two clusters of the same objects: in one each pod is wired when it starts, in the other when its node is touched."""

from __future__ import annotations

from typing import Any

from alike import differences
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig

# what stands for the putting off itself, caches that hold any one of equal values, and sets of objects (see `_planned`)
APART = (
    "._unwired",
    ".later",
    ".mode._intact",
    "._looked",
    "._random",
    "._holders",
    "under_way",
    "under_way']",
    "._pending",
)


class AtOnce(Cluster):
    """Nothing is put off. Once built it is a cluster as any other, and compares as one."""

    _put_off = False

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.__class__ = Cluster  # type: ignore[assignment]


def pair(nodes: int, text: str, seed: int = 0, **config: Any) -> tuple[Cluster, Cluster]:
    """The one where nothing is put off comes first."""
    settings, objects = ClusterConfig.of(nodes, **config), load_text(text).objects
    return AtOnce(settings, objects, seed=seed, capture=False), Cluster(settings, objects, seed=seed, capture=False)


def captured(nodes: int, text: str, seed: int = 0, **config: Any) -> tuple[Cluster, Cluster, Cluster]:
    """One whose capture has the frames of the build, and two whose capture begins behind it; in the last one pods are put off."""
    settings, objects = ClusterConfig.of(nodes, **config), load_text(text).objects
    return (
        Cluster(settings, objects, seed=seed),
        AtOnce(settings, objects, seed=seed, from_start=False),
        Cluster(settings, objects, seed=seed, from_start=False),
    )


def unwired(cluster: Cluster) -> list[str]:
    """The pods that have no network yet."""
    return [name for name, pod in cluster.pods.items() if pod.wired is None]


def asleep(cluster: Cluster) -> list[str]:
    """The nodes that nothing has touched."""
    return [name for name, node in cluster.nodes.items() if node.later is not None]


def unlike(one: Cluster, other: Cluster) -> list[str]:
    """Where two clusters differ once nothing is put off any more: anything that they hold, or would draw next."""
    assert list(one.namespaces) == list(other.namespaces)
    assert [net.name for net in one.namespaces.values()] == [net.name for net in other.namespaces.values()]
    for net in [*one.namespaces.values(), *other.namespaces.values()]:
        net.ipv4.fib.known.clear()  # what any change of a route empties
        net.ipv4.fib.inputs.clear()
        for table in net.ipv4.fib.tables.values():  # routes are listed and found by prefix
            _sort(table._routes)
            for _, level in table.levels:
                _sort(level)
        for values in (
            net.ipv4.rp_filter,
            net.ipv4.route_localnet,
            net.ipv4.forwards,
            net.sysctl._values,
            net.sysctl._own,
        ):
            _sort(values)  # each is asked by its key
    draws = [dict(sorted(cluster.clock._random.items())) for cluster in (one, other)]
    mine, theirs = (
        {**vars(cluster), "namespaces": dict(cluster.namespaces), "draws": drawn, "planned": _planned(cluster)}
        for cluster, drawn in zip((one, other), draws, strict=True)
    )
    found, count = differences(mine, theirs, lambda path: path.endswith(APART))
    assert found or count > 100 * len(one.nodes), count
    return found


def _planned(cluster: Cluster) -> list[str]:
    """What is due: pods by their uid, and who does something when."""
    parts = (each if isinstance(each, tuple) else (each,) for each in cluster.under_way)
    return sorted(
        " ".join(str(part) if isinstance(part, str | int) else type(part).__name__ for part in each) for each in parts
    )


def _sort(found: dict[Any, Any]) -> None:
    items = sorted(found.items())
    found.clear()
    found.update(items)
