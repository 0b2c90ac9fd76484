"""What a fork of a cluster costs beside a boot, side by side in one run, in CPU time.

A row is a cluster. `snapshot` walks over the state once; `fork` makes a cluster of the snapshot, once for each example.
`1,000 examples` is what a thousand forks and one boot cost, in boots.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import emu
from emu.testing.strategies import SmallCluster

SHOP = Path(emu.__file__).parent / "scenario" / "gallery" / "manifests" / "microservices-demo.yaml"
EXAMPLES = 1000


def clusters() -> dict[str, Callable[[], emu.Cluster]]:
    """By name: what boots it."""
    small, large = SmallCluster(2, 3), SmallCluster(5, 60)
    shop = emu.objects(SHOP)
    return {
        "2 nodes, 4 pods": lambda: emu.Cluster(small.config, small.objects),
        "3 nodes, an online shop": lambda: emu.Cluster(3, shop),
        "5 nodes, 61 pods": lambda: emu.Cluster(large.config, large.objects),
    }


def cost_ms(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    made = call()
    return (time.process_time() - started) * 1e3, made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(
        f"{'CPU ms, best / median':26}{'boot':>18}{'snapshot':>18}{'fork':>18}{'boot : fork':>14}{'1,000 examples':>16}"
    )
    for name, boot in clusters().items():
        boot()
        boots, snapshots, forks = list[float](), list[float](), list[float]()
        for _ in range(rounds):
            spent, cluster = cost_ms(boot)
            boots.append(spent)
            spent, snapshot = cost_ms(cluster.snapshot)
            snapshots.append(spent)
            spent, _fork = cost_ms(snapshot.fork)
            forks.append(spent)
            del cluster, snapshot, _fork
        cells = [f"{min(each):.1f} / {median(each):.1f}" for each in (boots, snapshots, forks)]
        ratio = median(one / other for one, other in zip(boots, forks, strict=True))
        print(f"{name:26}{cells[0]:>18}{cells[1]:>18}{cells[2]:>18}{ratio:>14.1f}{1 + EXAMPLES / ratio:>11.0f} boots")


if __name__ == "__main__":
    main()
