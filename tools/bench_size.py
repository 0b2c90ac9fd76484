"""How large a cluster can be: real pods from JSON manifests, up to Kubernetes' official limits of 5,000 nodes and 150,000 pods.

30 pods a node, 2 Services a node with 15 endpoints each, of Deployments. Each size is loaded, built, asked and changed in a
process of its own, one after the other, so that memory is its own. All is CPU time (user + system), since wall clock means
little on a busy machine; flows and changes are medians. The exponent between two sizes is the power of the number of nodes
that a cost grows with: 1 is linear, 0 is no growth. With `--no-capture` pods that no packet reaches have no network: the first flow
and the first deletion wire the pods of the nodes that they touch. `--network` names another network than bridge. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

from bench_control import ENDPOINTS, POD_SUBNET, SERVICES, Rows, cost_ms, memory_mib, service
from emu.kube.api.core import Pod
from emu.kube.api.sources import load
from emu.kube.cluster import Cluster, ClusterConfig

SIZES = (10, 100, 1_000, 5_000)
TURNS, FLOWS, WARM = 7, 20, 5  # rounds of changes, flows measured in each, and before these
CLIENT, SERVER = 0, 1  # the numbers of the Services that the flow's ends are behind
UNDERLAYS = {"kindnet": "switched"}  # its nodes are on one link
UNITS = {"load": "s", "build": "s", "memory": "MiB", "memory after the changes": "MiB"}  # all others are ms
PER_POD = {"load": ("us", 1e6), "build": ("us", 1e6), "memory": ("KiB", 1024.0)}


def manifests(nodes: int) -> str:
    """A List of the workloads of a cluster with so many nodes, and a Service for each, as JSON."""
    items: list[dict[str, object]] = []
    for number in range(SERVICES * nodes):
        name, labels = f"s{number}", {"app": f"s{number}"}
        container = {"name": "app", "image": "app:1", "ports": [{"containerPort": 8080}]}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        ports = [{"port": 80, "targetPort": 8080}]
        items += [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"replicas": ENDPOINTS, "selector": {"matchLabels": labels}, "template": template},
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"selector": labels, "ports": ports},
            },
        ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def measure(nodes: int, path: Path, network: str, *, capture: bool) -> Rows:
    """What one size costs: load and build in s, flows and changes in ms, memory in MiB."""
    rows: Rows = {}

    def note(name: str, value: float) -> None:
        rows.setdefault(name, []).append(value)
        print(f"{nodes} nodes: {name} {value:.1f} {UNITS.get(name, 'ms')}", file=sys.stderr)

    started = time.process_time()
    loaded = load(path)
    note("load", time.process_time() - started)
    started = time.process_time()
    config = ClusterConfig.of(nodes, pod_subnet=POD_SUBNET, network=network, underlay=UNDERLAYS.get(network, "routed"))
    cluster = Cluster(config, loaded.objects, capture=capture)
    note("build", time.process_time() - started)
    note("memory", memory_mib())

    def flow() -> None:
        assert cluster.tcp(client, f"svc/s{SERVER}:80", b"x").delivered

    client = f"default/{_pod_of(cluster, CLIENT).name}"
    note("first flow", cost_ms(flow))
    for turn in range(TURNS):
        number = 2 + turn  # Services that neither end of the flow is behind
        gone = _pod_of(cluster, number)
        changes: dict[str, Callable[[], object]] = {
            "delete a pod": partial(cluster.delete, "pod", "default", gone.name),
            "scale by one": partial(cluster.scale, "deployment", "default", f"s{number}", ENDPOINTS + 1),
            "apply a Service": partial(cluster.apply, service(number, 81)),
            "apply it unchanged": partial(cluster.apply, service(number, 81)),
        }
        for name, change in changes.items():
            note(name, cost_ms(change))
        for _ in range(WARM):
            flow()
        for _ in range(FLOWS):
            note("warm flow", cost_ms(flow))
    note("memory after the changes", memory_mib())
    return rows


def _pod_of(cluster: Cluster, number: int) -> Pod:
    return next(pod for pod in cluster.store.list(Pod) if pod.metadata.labels["app"] == f"s{number}")


def run(nodes: int, limit_mib: int, network: str, *, capture: bool) -> Rows:
    """Measure one size in a process of its own. Raises RuntimeError when it ends without an answer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "objects.json")
        path.write_text(manifests(nodes), encoding="utf-8")
        command = [
            sys.executable,
            __file__,
            "--one",
            str(path),
            "--limit",
            str(limit_mib),
            "--network",
            network,
            str(nodes),
        ]
        command += [] if capture else ["--no-capture"]
        # the package that stands beside this file, whichever is installed
        here = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=here, check=False)
    if done.returncode:
        raise RuntimeError(f"the process of {nodes} nodes ended with status {done.returncode}")
    found: Rows = json.loads(done.stdout)
    return found


def exponent(before: tuple[int, float], after: tuple[int, float]) -> float:
    """The power of the number of nodes that grew from one size, (nodes, cost), to the next as the cost did."""
    return math.log(after[1] / before[1]) / math.log(after[0] / before[0])


def report(found: dict[int, Rows]) -> None:
    """The table, a column a size, and the exponents between them."""
    sizes = sorted(found)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores; CPU time, medians\n")
    print(f"{'nodes':32}" + "".join(f"{nodes:>12,}" for nodes in sizes) + "  growth exponents")
    print(f"{'pods':32}" + "".join(f"{nodes * SERVICES * ENDPOINTS:>12,}" for nodes in sizes))
    for name in found[sizes[0]]:
        costs = [(nodes, median(found[nodes][name])) for nodes in sizes]
        steps = [f"{exponent(*pair):.2f}" for pair in pairwise(costs)]
        label = f"{name} ({UNITS.get(name, 'ms')})"
        print(f"{label:32}" + "".join(f"{cost:>12.2f}" for _, cost in costs) + "  " + ", ".join(steps))
        if name in PER_POD:
            unit, factor = PER_POD[name]
            each = "".join(f"{cost * factor / (nodes * SERVICES * ENDPOINTS):>12.1f}" for nodes, cost in costs)
            print(f"{f'  a pod ({unit})':32}{each}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, metavar="NODES", help="default: 10 100 1000 5000")
    parser.add_argument(
        "--limit", type=int, default=14 * 1024, metavar="MIB", help="address space of a process at most"
    )
    parser.add_argument("--no-capture", dest="capture", action="store_false", help="clusters without a capture")
    parser.add_argument(
        "--network", default="bridge", help="what wires the pods: bridge, flannel, kindnet, calico, ..."
    )
    parser.add_argument("--one", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        limit = options.limit << 20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        print(json.dumps(measure(options.sizes[0], options.one, options.network, capture=options.capture)))
        return
    report({nodes: run(nodes, options.limit, options.network, capture=options.capture) for nodes in options.sizes})


if __name__ == "__main__":
    main()
