"""The cost of one change as a cluster grows: real pods; each size runs in a process of its own, so that memory is its own.

30 pods a node, 2 Services a node with 15 endpoints each. A change is measured until the cluster has settled; what it
costs must concern what it changes, so the ratio to the smallest size is what counts. CPU time (user + system), since wall
clock means little on a busy machine; the sizes take turns, so that a busy moment meets them all, and medians are
compared. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

from emu.kube.api.apps import Deployment, DeploymentSpec
from emu.kube.api.core import (
    Container,
    ContainerPort,
    Pod,
    PodSpec,
    PodTemplateSpec,
    Service,
    ServicePort,
    ServiceSpec,
)
from emu.kube.api.meta import LabelSelector, Object, ObjectMeta
from emu.kube.cluster import Cluster, ClusterConfig

SIZES = (10, 100, 1_000)
SERVICES, ENDPOINTS = 2, 15  # Services a node, endpoints a Service
POD_SUBNET = "10.128.0.0/9"  # room for a /24 a node
TURNS, FLOWS, WARM = 15, 20, 5  # rounds of changes, flows measured in each, and before these
# the most that the largest size may cost, as a multiple of the smallest
LIMITS = {
    "delete a pod": 10.0,
    "scale by one": 10.0,
    "apply a Service": 10.0,
    "a new Service": 1.5,
    "a new Service with pods": 1.5,
    "flow behind it": 1.5,
    "warm flow": 1.2,
}
MEMORY_MIB = 1536


def service(number: int, port: int = 80, pods: int | None = None) -> Service:
    """A Service for the pods of its own number, or of another one."""
    name = f"s{number}"
    ports = (ServicePort(port=port, target_port=8080),)
    return Service(
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=ServiceSpec(selector={"app": f"s{number if pods is None else pods}"}, ports=ports),
    )


def deployment(number: int, replicas: int = ENDPOINTS) -> Deployment:
    name = f"s{number}"
    container = Container(name="app", ports=(ContainerPort(container_port=8080),))
    template = PodTemplateSpec(metadata=ObjectMeta(labels={"app": name}), spec=PodSpec(containers=(container,)))
    return Deployment(
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=DeploymentSpec(selector=LabelSelector({"app": name}), template=template, replicas=replicas),
    )


def objects(nodes: int) -> list[Object]:
    """The workloads of a cluster with so many nodes, and a Service for each."""
    return [make(number) for number in range(SERVICES * nodes) for make in (deployment, service)]


def cost_ms(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return (time.process_time() - started) * 1e3


def memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


Rows = dict[str, list[float]]


def measure(nodes: int) -> Iterator[Rows]:
    """What one size costs: first to build it, then each turn's changes and flows. CPU time in ms, memory in MiB."""
    wanted = objects(nodes)
    started = time.process_time()
    cluster = Cluster(ClusterConfig.of(nodes, pod_subnet=POD_SUBNET), wanted)
    build = (time.process_time() - started) * 1e3

    def flow() -> None:
        assert cluster.tcp(client, f"{server}:8080", b"x").delivered

    client, server = list(cluster.pods)[:2]
    yield {"build": [build], "MiB built": [memory_mib()], "first flow": [cost_ms(flow)]}
    for turn in range(TURNS):
        number = 2 + turn  # Services that neither end of the flow is behind
        gone = next(pod for pod in cluster.store.list(Pod) if pod.metadata.labels["app"] == f"s{number}")
        changes: dict[str, Callable[[], object]] = {
            "delete a pod": partial(cluster.delete, "pod", "default", gone.name),
            "scale by one": partial(cluster.scale, "deployment", "default", f"s{number}", ENDPOINTS + 1),
            "apply a Service": partial(cluster.apply, service(number, 81)),
            "apply it unchanged": partial(cluster.apply, service(number, 81)),
            "a new Service": partial(cluster.apply, service(SERVICES * nodes + 2 * turn)),
            "a new Service with pods": partial(cluster.apply, service(SERVICES * nodes + 2 * turn + 1, pods=number)),
            "flow behind it": flow,
        }
        rows = {name: [cost_ms(change)] for name, change in changes.items()}
        for _ in range(WARM):
            flow()
        yield rows | {"warm flow": [cost_ms(flow) for _ in range(FLOWS)], "MiB after the changes": [memory_mib()]}


class Size:
    """A process that measures one size, a step each time that it is asked to."""

    def __init__(self, nodes: int) -> None:
        self.nodes, self.rows = nodes, Rows()
        command = [sys.executable, __file__, "--one", str(nodes)]
        # the package that stands beside this file, whichever is installed
        here = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=here)

    def step(self) -> None:
        """Raises RuntimeError when the process ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.nodes} nodes ended with status {self._process.wait()}")
        for name, values in json.loads(line).items():
            self.rows.setdefault(name, []).extend(values)

    def end(self) -> None:
        """No more steps."""
        self._process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, metavar="NODES", help="default: 10 100 1000")
    parser.add_argument("--one", type=int, metavar="NODES", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        steps = measure(options.one)
        for _ in sys.stdin:
            print(json.dumps(next(steps)), flush=True)
        return
    sizes = [Size(nodes) for nodes in options.sizes]
    for size in sizes:  # built one after another, and then in turns
        size.step()
    for _ in range(TURNS):
        for size in sizes:
            size.step()
    first: dict[str, float] = {}
    print(f"{'nodes':>6}  {'CPU time (ms), or MiB':24}{'median':>10}{'best':>10}{'ratio':>8}  limit")
    for size in sizes:
        size.end()
        for name, values in size.rows.items():
            middle = median(values)
            ratio = middle / first.setdefault(name, middle)
            limit = f"{LIMITS[name]:g}" if name in LIMITS else f"{MEMORY_MIB} MiB" if name.startswith("MiB") else ""
            print(f"{size.nodes:>6}  {name:24}{middle:>10.2f}{min(values):>10.2f}{ratio:>8.2f}  {limit}")


if __name__ == "__main__":
    main()
