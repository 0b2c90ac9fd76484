"""CPU time and memory of many TCP flows to a Service, by a scenario with traffic, written to one file: memory at each tenth.

    tools/bench flows [FLOWS] [--no-results] [--held] [-w FILE]

10,000 flows, if no number is given. --held keeps all in memory, as a run without files does. Without -w the file is made in a temporary folder,
31 kB a flow.
"""

from __future__ import annotations

import argparse
import re
import resource
import tempfile
import time
from pathlib import Path

from emu.report.table import summary
from emu.scenario.run import SHOWN, run
from emu.scenario.script import load

COUNT = re.compile(r"([\d,]+) flows$")
SCENARIO = """\
apiVersion: emu/v1
kind: Scenario
metadata: {{name: flows}}
cluster: {{nodes: 2}}
steps:
- traffic: {{flows: {flows}, rate: 100, mix: [{{tcp: {{from: default/client, to: "svc/web:80", send: x}}, expect: {{outcome: delivered}}}}]}}
---
{{apiVersion: v1, kind: Pod, metadata: {{name: client}}, spec: {{nodeName: node-1, containers: [{{name: a}}]}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}}}
spec: {{nodeName: node-2, containers: [{{name: a, ports: [{{containerPort: 80}}]}}]}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}}}
"""


def now_mib() -> int:
    """The memory that this process has now, where the system states it."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 0
    return int(statm.read_text(encoding="ascii").split()[1]) * resource.getpagesize() >> 20


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(flows: int, write: str, *, results: bool, held: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scenario = Path(folder) / "flows.yaml"
        scenario.write_text(SCENARIO.format(flows=flows), encoding="utf-8")
        began_s, each, began_mib = time.process_time(), max(SHOWN, flows // 10), peak_mib()

        def progress(_done: int, _of: int, what: str) -> None:
            count = COUNT.search(what)
            done = int(count[1].replace(",", "")) if count else 0
            if done and not done % each:
                cpu_s = time.process_time() - began_s
                print(
                    f"{done:>11,} flows {cpu_s / done * 1000:8.2f} ms of CPU a flow {now_mib():8} MiB now {peak_mib():8} MiB at most",
                    flush=True,
                )

        done = run(load(scenario), stream=None if held else folder, results=results, progress=progress)
        capture = done.cluster.capture
        assert capture is not None
        if not held:
            print(f"{summary(done)}; {began_mib} MiB before", flush=True)
        began_s = time.process_time()
        frames = capture.write(write or Path(folder) / "all.pcapng", force=bool(write))
        cpu_s = time.process_time() - began_s
        print(
            f"{frames:>11,} frames written, {cpu_s / frames * 1e6:.1f} us of CPU a frame {now_mib():8} MiB now {peak_mib():8} MiB at most"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("flows", type=lambda text: int(text.replace(",", "")), nargs="?", default=10_000)
    parser.add_argument("--no-results", action="store_true")
    parser.add_argument("--held", action="store_true")
    parser.add_argument("-w", default="", metavar="FILE")
    options = parser.parse_args()
    main(options.flows, options.w, results=not options.no_results, held=options.held)
