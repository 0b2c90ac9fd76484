"""How cost grows with Services, nodes and objects: each size runs in a process of its own, so that memory is its own.

A packet's walk with N Services must cost the same as with ten; building must stay within the
design's bounds. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import yaml

from emu.kube.api.core import Container, Pod, PodSpec, Service, ServicePort, ServiceSpec
from emu.kube.api.discovery import SERVICE_NAME, Endpoint, EndpointSlice, EndpointSlicePort
from emu.kube.api.loader import load_text
from emu.kube.api.meta import Object, ObjectMeta
from emu.kube.cluster import Cluster, ClusterConfig

SIZES = ((10, 10, 2), (1_000, 10, 2), (10_000, 10, 2), (10_000, 10, 100))
PACKETS = 500


def objects(services: int, endpoints: int) -> list[Object]:
    """A client, and Services whose slices name addresses that no pod has: only rules are needed."""
    found: list[Object] = [
        Pod(
            metadata=ObjectMeta(name="client", namespace="default"),
            spec=PodSpec(containers=(Container(name="app"),), node_name="node-1"),
        )
    ]
    number = 0
    for index in range(services):
        meta = ObjectMeta(name=f"s{index}", namespace="default")
        found.append(Service(metadata=meta, spec=ServiceSpec(ports=(ServicePort(port=80),))))
        addresses = []
        for _ in range(endpoints):
            number += 1
            addresses.append(f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}")
        found.append(
            EndpointSlice(
                metadata=ObjectMeta(name=f"s{index}-1", namespace="default", labels={SERVICE_NAME: f"s{index}"}),
                address_type="IPv4",
                endpoints=tuple(Endpoint(addresses=(address,)) for address in addresses),
                ports=(EndpointSlicePort(port=8080, protocol="TCP", name=""),),
            )
        )
    return found


def measure(services: int, endpoints: int, nodes: int) -> dict[str, float]:
    """Build time, memory, and the cost of a connection's first packet (a SYN to a Service, and all frames that follow)."""
    wanted = objects(services, endpoints)
    started = time.perf_counter()
    cluster = Cluster(ClusterConfig.of(nodes), wanted, capture=False)
    built = time.perf_counter() - started
    target = cluster.resolve(f"svc/s{services // 2}:80")
    sockets = cluster.pod("default/client").net.sockets

    def connect() -> None:
        socket = sockets.tcp()
        socket.connect((target.addr, target.port))
        socket.abort()

    for _ in range(50):
        connect()
    best = min(_timed(connect) for _ in range(PACKETS))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"built_s": built, "memory_mib": memory, "syn_us": best * 1e6}


def _timed(call: object) -> float:
    started = time.perf_counter()
    call()  # type: ignore[operator]  # a function of no arguments
    return time.perf_counter() - started


def loading(count: int) -> None:
    """Small objects loaded as YAML, by PyYAML's C loader alone for comparison, and as JSON."""
    small = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{i}"}, "spec": {"containers": [{"name": "app"}]}}
        for i in range(count)
    ]
    text = yaml.dump_all(small, Dumper=yaml.CSafeDumper)
    rows = {}
    started = time.perf_counter()
    for _ in yaml.load_all(text, Loader=yaml.CSafeLoader):
        pass
    rows["PyYAML's C loader alone"] = time.perf_counter() - started
    started = time.perf_counter()
    load_text(text)
    rows["emu, YAML"] = time.perf_counter() - started
    listing = json.dumps({"apiVersion": "v1", "kind": "List", "items": small})
    started = time.perf_counter()
    load_text(listing, "objects.json")
    rows["emu, JSON"] = time.perf_counter() - started
    print(f"\nloading {count:,} small objects{'s':>14}{'ratio':>8}")
    for name, took in rows.items():
        print(f"{name:42}{took:6.2f}{took / rows[next(iter(rows))]:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--one", nargs=3, type=int, metavar=("SERVICES", "ENDPOINTS", "NODES"))
    parser.add_argument("--objects", type=int, default=100_000)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    print(f"{'Services':>10}{'endpoints':>11}{'nodes':>7}{'built s':>10}{'MiB':>8}{'us a SYN':>10}{'ratio':>7}")
    first = 0.0
    for services, endpoints, nodes in SIZES:
        command = [sys.executable, __file__, "--one", str(services), str(endpoints), str(nodes)]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        first = first or row["syn_us"]
        print(
            f"{services:>10,}{services * endpoints:>11,}{nodes:>7}{row['built_s']:>10.2f}{row['memory_mib']:>8.0f}"
            f"{row['syn_us']:>10.1f}{row['syn_us'] / first:>7.2f}"
        )
    loading(options.objects)


if __name__ == "__main__":
    main()
