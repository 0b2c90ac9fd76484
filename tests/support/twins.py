"""The twin for tests: whether this machine can, and scenarios as small texts.

A test that needs the twin has the mark `needs_twin`; it is skipped, loudly, where no kernel can judge. What is held by
`agrees` is counted, and reported at the end of the run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from emu.scenario.script import Scenario, load_text
from emu.twin import Report, judge
from emu.twin.space import missing
from emu.twin.wired import Wiring

LOST = missing()
# what conftest counts and shows at the end
needs_twin = [
    pytest.mark.twin,
    pytest.mark.skipif(
        bool(LOST) and not os.environ.get("EMU_REQUIRE_TWIN"), reason=f"skipped: no real kernel to ask ({LOST})"
    ),
]

# How many scenarios the running test has had judged by now, by kind, and what differed where a second try was needed;
# conftest takes them to the test's report.
JUDGED: Counter[str] = Counter()
AGAIN: list[str] = []
TRIES = 3  # other tests run beside


def agrees(source: Path | str | Scenario, kind: str, *, wiring: bool = False, wired: Wiring | None = None) -> Report:
    """The kernel and the emulator agree on a scenario: a file, or a text. `kind` is what it is counted as; with `wiring` the real
    CNI plugins wire the kernel's pods; `wired` wires all of the kernel's side.

    A busy machine lets a program be late by more than a tick, and the kernel's timers come first then: what differs
    runs again, twice at most. A difference of the emulator's is there each time. What differed at first is reported at the end of the run.
    """
    scenario = load_text(source) if isinstance(source, str) else source
    report = judge(scenario, tries=TRIES, wiring=wiring, wired=wired)
    JUDGED[kind] += 1
    AGAIN.extend(str(each) for each in report.earlier)
    assert report.exit_status == 0, report.text()
    return report


def summary(counts: Counter[str], again: Sequence[str]) -> list[str]:
    """How many scenarios the kernel judged, by kind, and a line for each second try; empty if none was judged."""
    if not counts:
        return []
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
    end = f"{len(again)} differed at the first try:" if again else "all equal at the first try"
    return [f"the kernel judged {counts.total()} scenarios ({kinds}); {end}", *(f"  {each}" for each in again)]


PODS = """
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec: {nodeName: node-1, containers: [{name: client}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}, annotations: {emu/app: "http@8080"}}
spec:
  nodeName: NODE
  containers:
  - {name: web, ports: [{containerPort: 8080}, {containerPort: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.96.0.10
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP}]
"""


def scenario(steps: str, *, cluster: str = "{nodes: 2}", node: str = "node-2", more: str = "", pods: str = PODS) -> str:
    """A scenario of a client on node-1, a web server on `node` and a Service before it; `steps` is YAML's flow or block."""
    head = f"apiVersion: emu/v1\nkind: Scenario\ncluster: {cluster}\nsteps:\n{steps}\n---"
    return head + pods.replace("NODE", node) + (f"---\n{more}" if more else "")
