"""The compiled modules beside pure Python: the same work in two trees, in turn, in CPU time.

Each side is a process of its own that stays: it is warm. A ratio is the median over the rounds of pure / compiled in the same round.
`--trees A B` compares any two trees of the project, for example a change with what was there before.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import emu
from bench import ECHOES, TALKS, Echo, Talk, seconds
from emu.kube.cluster import Cluster
from emu.testing.strategies import SmallCluster

ROOT = Path(__file__).resolve().parent.parent
BULK = 256 << 10  # bytes there and back
Work = Callable[[], float]


def works(folder: Path) -> dict[str, Work]:
    """By name: a call that gives the seconds for one unit."""
    echo, bare, talk, bulk, many = (
        Echo(capture=True),
        Echo(capture=False),
        Talk(capture=True),
        Talk(capture=False),
        Talk(capture=True),
    )
    large = SmallCluster(10, 120)
    state = emu.Cluster(large.config, large.objects)
    captures = (echo.cluster.capture, many.cluster.capture)
    assert captures[0] is not None
    assert captures[1] is not None
    one, flows = captures[0], captures[1]

    def written_echo() -> float:
        start = echo.frames()
        echo.run(ECHOES // 2)
        count = echo.frames() - start
        return seconds(partial(one.write, folder / "echo.pcapng", flow=1, since=start)) / count

    def written_flows() -> float:
        start = many.frames()
        many.run(TALKS)
        count = many.frames() - start
        return seconds(partial(flows.write, folder / "flows.pcapng", since=start)) / count

    def sent() -> float:
        data = bytes(BULK)
        flow = None

        def run() -> None:
            nonlocal flow
            flow = bulk.cluster.tcp("default/client", bulk.target, data)

        took = seconds(run)
        assert flow is not None
        assert len(flow.received) == BULK
        return took

    return {
        "UDP echo: walk, taps and trails": lambda: seconds(lambda: echo.run(ECHOES)) / ECHOES,
        "UDP echo: walk alone": lambda: seconds(lambda: bare.run(ECHOES)) / ECHOES,
        "UDP echo: its file, a frame": written_echo,
        "TCP flow: walk, taps and trails": lambda: seconds(lambda: talk.run(TALKS)) / TALKS,
        "TCP flows: files, a frame": written_flows,
        "TCP bulk, 256 KiB there and back": sent,
        "build: 10 nodes, 121 pods": lambda: seconds(lambda: Cluster(large.config, large.objects)),
        "a fork of it": lambda: seconds(state.fork),
    }


def serve() -> None:
    """One side: reads names, prints seconds."""
    with tempfile.TemporaryDirectory() as folder:
        found = works(Path(folder))
        for work in found.values():
            work()
        gc.collect()
        gc.freeze()
        print("ready", *found, sep="\t", flush=True)
        for line in sys.stdin:
            print(found[line.strip()](), flush=True)


class Side:
    """A tree of the project, and the process that works in it."""

    def __init__(self, tree: Path, environment: dict[str, str]) -> None:
        path = os.pathsep.join((str(tree), str(ROOT / "tools")))
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tools" / "bench_compiled.py"), "--serve"],
            cwd=tree, env={**os.environ, **environment, "PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.names = self._line().split("\t")[1:]

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit("bench: one side ended")
        return line.rstrip("\n")

    def ask(self, name: str) -> float:
        assert self._process.stdin is not None
        print(name, file=self._process.stdin, flush=True)
        return float(self._line())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--trees", nargs=2, type=Path, metavar=("PURE", "COMPILED"), help="two trees (else made by tools/wheel)"
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve()
        return
    if given.trees is None:
        tree = subprocess.run(
            [ROOT / "tools" / "wheel", "--tree"], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        given.trees = [ROOT, Path(tree.strip())]
    pure, compiled = (Side(tree.resolve(), {}) for tree in given.trees)
    rows: dict[str, list[tuple[float, float]]] = {}
    for _ in range(given.rounds):
        for name in pure.names:
            rows.setdefault(name, []).append((pure.ask(name), compiled.ask(name)))
    pure.close()
    compiled.close()
    print(
        f"CPU time, {given.rounds} rounds: best / median, pure and compiled; ratios are medians of the same round's values"
    )
    print(f"{'':36}{'pure, us':>22}{'compiled, us':>22}{'pure : compiled':>18}")
    for name, values in rows.items():
        cells = [f"{min(each) * 1e6:.1f} / {median(each) * 1e6:.1f}" for each in zip(*values, strict=True)]
        print(f"{name:36}{cells[0]:>22}{cells[1]:>22}{median(one / other for one, other in values):>18.2f}")


if __name__ == "__main__":
    main()
