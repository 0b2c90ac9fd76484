"""What network policies cost as their number grows: 100, 1,000 and 10,000 over 5,000 pods, with kube-router and with Calico.

50 nodes with 100 pods each, 50 namespaces. The pair that calls has one policy, so that what it costs is about those that do not select it;
the others select 10 pods each. CPU time (user + system) of each size in a process of its own; a packet's cost is that of a new TCP
connection, opened, used and closed, in turns over the sizes. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from emu.kube.api.core import Pod
from emu.kube.cluster import Cluster, ClusterConfig
from many_policies import APPS, DATAPLANES, REPLICAS, objects, relabelled, touched

SIZES = (100, 1_000, 10_000)
NODES, SPACES = 50, 50
TURNS, FLOWS, WARM = 5, 20, 5


def cost_ms(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return (time.process_time() - started) * 1e3


Rows = dict[str, list[float]]


def measure(dataplane: str, policies: int) -> Iterator[Rows]:
    """What one size costs: first to build it, then each turn. CPU time in ms."""
    wanted = objects(policies, NODES, SPACES)
    started = time.process_time()
    cluster = Cluster(ClusterConfig.of(NODES, **DATAPLANES[dataplane]), wanted, capture=False)
    build = (time.process_time() - started) * 1e3
    pods = cluster.store.list(Pod, "n0")
    server = next(each.name for each in pods if each.metadata.labels["app"] == "a0")
    client = next(each.name for each in pods if each.metadata.labels["app"] == "a1")

    def flow() -> None:
        assert cluster.tcp(f"n0/{client}", f"n0/{server}:8080", b"x").delivered

    yield {"build": [build], "first flow": [cost_ms(flow)]}
    moved = [each.name for each in cluster.store.list(Pod, "n1") if each.metadata.labels["app"] == "a3"]
    for turn in range(TURNS):
        relabel = relabelled(cluster, moved[turn], "a4")
        cost = 0.0

        def run(change: Callable[[], object] = relabel) -> None:
            nonlocal cost
            cost = cost_ms(change)

        chains, sets = touched(cluster, run)
        rows: Rows = {"relabel a pod": [cost], "chains touched": [chains], "sets touched": [sets]}
        for _ in range(WARM):
            flow()
        yield rows | {"flow": [cost_ms(flow) for _ in range(FLOWS)]}


class Size:
    """A process that measures one size, a step each time that it is asked to."""

    def __init__(self, dataplane: str, policies: int) -> None:
        self.policies, self.rows = policies, Rows()
        command = [sys.executable, __file__, "--one", dataplane, str(policies)]
        root = Path(__file__).resolve().parents[1]
        here = os.environ | {"PYTHONPATH": f"{root}:{root / 'tests/support'}"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=here)

    def step(self) -> None:
        """Raises RuntimeError when the process ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.policies} policies ended with status {self._process.wait()}")
        for name, values in json.loads(line).items():
            self.rows.setdefault(name, []).extend(values)

    def end(self) -> None:
        """No more steps."""
        self._process.communicate()


def compare(dataplane: str, numbers: list[int]) -> None:
    sizes = [Size(dataplane, number) for number in numbers]
    for _ in range(1 + TURNS):
        for size in sizes:
            size.step()
    print(f"\n{dataplane}, {SPACES * APPS * REPLICAS:,} pods; CPU in ms, median (best)")
    print(f"{'':16}" + "".join(f"{f'{size.policies:,}':>22}" for size in sizes) + "   last : first")
    for name in sizes[0].rows:
        medians = [median(size.rows[name]) for size in sizes]
        cells = [f"{median(size.rows[name]):,.2f} ({min(size.rows[name]):,.2f})" for size in sizes]
        ratio = medians[-1] / medians[0] if medians[0] else 0
        print(f"{name:16}" + "".join(f"{cell:>22}" for cell in cells) + f"   {ratio:.2f}")
    for size in sizes:
        size.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, metavar="POLICIES", help="default: 100 1000 10000")
    parser.add_argument("--dataplane", choices=[*DATAPLANES], help="one of the two; default: both")
    parser.add_argument("--one", nargs=2, metavar=("DATAPLANE", "POLICIES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        steps = measure(options.one[0], int(options.one[1]))
        for _ in sys.stdin:
            print(json.dumps(next(steps)), flush=True)
        return
    for dataplane in [options.dataplane] if options.dataplane else [*DATAPLANES]:
        compare(dataplane, list(options.sizes))


if __name__ == "__main__":
    main()
