"""The cost of one change as a cluster grows: real pods; each size runs in a process of its own, so that memory is its own.

Each node has 30 pods and 2 Services with 15 endpoints each. A change is measured until the cluster has settled. Its
cost must not depend on the cluster's size: the result is the ratio to the smallest size. CPU time (user + system) is
measured, as wall-clock time depends on other work on the machine. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
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
CHANGES, FLOWS, WARM = 7, 60, 5
# the most that the largest size may cost, as a multiple of the smallest
LIMITS = {"delete a pod": 10.0, "scale by one": 10.0, "apply a Service": 10.0, "warm flow": 1.2}
MEMORY_MIB = 1536


def service(number: int, port: int = 80) -> Service:
    name = f"s{number}"
    ports = (ServicePort(port=port, target_port=8080),)
    return Service(
        metadata=ObjectMeta(name=name, namespace="default"), spec=ServiceSpec(selector={"app": name}, ports=ports)
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


def measure(nodes: int) -> dict[str, list[float]]:
    """The costs of one size: `build` in ms and MiB, each change and a flow in ms, in the order of measurement."""
    wanted = objects(nodes)
    cluster: Cluster
    started = time.process_time()
    cluster = Cluster(ClusterConfig.of(nodes, pod_subnet=POD_SUBNET), wanted)
    rows: dict[str, list[float]] = {"build": [(time.process_time() - started) * 1e3], "MiB built": [memory_mib()]}

    def flow() -> None:
        assert cluster.tcp(client, f"{server}:8080", b"x").delivered

    client, server = list(cluster.pods)[:2]
    rows["first flow"] = [cost_ms(flow)]
    for _ in range(WARM):
        flow()
    rows["warm flow"] = [cost_ms(flow) for _ in range(FLOWS)]
    rows |= {
        "delete a pod": [],
        "scale by one": [],
        "apply a Service": [],
        "apply it unchanged": [],
        "a new Service": [],
    }
    for turn in range(CHANGES):
        number = 2 + turn  # Services without either end of the flow as endpoint
        gone = next(pod for pod in cluster.store.list(Pod) if pod.metadata.labels["app"] == f"s{number}")
        changes: dict[str, Callable[[], object]] = {
            "delete a pod": partial(cluster.delete, "pod", "default", gone.name),
            "scale by one": partial(cluster.scale, "deployment", "default", f"s{number}", ENDPOINTS + 1),
            "apply a Service": partial(cluster.apply, service(number, 81)),
            "apply it unchanged": partial(cluster.apply, service(number, 81)),
            "a new Service": partial(cluster.apply, service(SERVICES * nodes + turn)),
        }
        for name, change in changes.items():
            rows.setdefault(name, []).append(cost_ms(change))
    rows["MiB after the changes"] = [memory_mib()]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, metavar="NODES", help="default: 10 100 1000")
    parser.add_argument("--one", type=int, metavar="NODES", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    first: dict[str, float] = {}
    print(f"{'nodes':>6}  {'CPU time (ms), or MiB':24}{'median':>10}{'best':>10}{'ratio':>8}  limit")
    for nodes in options.sizes:
        command = [sys.executable, __file__, "--one", str(nodes)]
        rows = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        for name, values in rows.items():
            middle = median(values)
            ratio = middle / first.setdefault(name, middle)
            limit = f"{LIMITS[name]:g}" if name in LIMITS else f"{MEMORY_MIB} MiB" if name.startswith("MiB") else ""
            print(f"{nodes:>6}  {name:24}{middle:>10.2f}{min(values):>10.2f}{ratio:>8.2f}  {limit}", flush=True)


if __name__ == "__main__":
    main()
