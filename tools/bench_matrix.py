"""What a matrix costs as the cluster grows: CPU seconds of build and flows, flows, cells and peak memory of one process.

`python tools/bench_matrix.py [NODES PODS SERVICES]`; without numbers three sizes, the last is 1,000 nodes, 5,000 pods, 500 Services. One process asks,
so that its CPU time is all there is; over N processes the flows' part is divided by N.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from emu.kube.cluster import Cluster  # noqa: E402
from emu.matrix.ask import Question  # noqa: E402
from emu.matrix.whole import ask_all  # noqa: E402
from large_exports import large  # noqa: E402

SIZES = ((10, 50, 5), (100, 500, 50), (1000, 5000, 500))
HEAD = f"{'nodes':>6} {'pods':>6} {'Services':>8} {'build s':>8} {'ask s':>7} {'flows':>7} {'ms/flow':>7} {'cells':>9} {'MiB':>6}"


def measured(nodes: int, pods: int, services: int) -> str:
    """One line of the table, made in this process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.json"
        path.write_text(json.dumps(large(nodes, pods, services), indent=4), encoding="utf-8")
        begin = time.process_time()
        cluster = Cluster.live(path, capture=False)
    built = time.process_time()
    table = ask_all(partial(Cluster.live, path, capture=False), Question(), cluster=cluster, jobs=1)
    end = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    each_ms = (end - built) / table.flows * 1e3
    return (
        f"{nodes:>6,} {pods:>6,} {services:>8,} {built - begin:>8.2f} {end - built:>7.2f} {table.flows:>7,} {each_ms:>7.2f} {table.asked:>9,} {peak:>6,}"
    )  # fmt: skip


def main(arguments: list[str]) -> None:
    sizes = [tuple(map(int, arguments[:3]))] if len(arguments) >= 3 else SIZES
    print(HEAD)
    for nodes, pods, services in sizes:
        print(measured(nodes, pods, services), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
