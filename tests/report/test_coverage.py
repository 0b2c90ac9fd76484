"""What a run never used, and counters as people know them from iptables."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.cli import main
from emu.report.counters import abbreviated, counters
from emu.report.coverage import coverage, never
from emu.scenario.run import run
from emu.scenario.script import load

SCENARIO = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: unused}
cluster: {nodes: 2}
steps:
- tcp: {from: default/client, to: "svc/web:80"}
  expect: {outcome: delivered}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-1, containers: [{name: a, image: x}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-2, containers: [{name: a, image: x, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: unasked}
spec: {selector: {app: web}, ports: [{port: 81, targetPort: 80}]}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "unused.yaml"
    path.write_text(SCENARIO)
    return path


def test_what_was_never_used_is_named(scenario: Path) -> None:
    cluster = run(load(scenario)).cluster
    report = coverage(cluster)
    assert [text.partition(" ->")[0] for text in never(report, "endpoints")] == ["default/unasked"]
    assert any("default/unasked cluster IP" in text for text in never(report, "rules"))
    assert not any("default/web cluster IP" in text and "-A KUBE-SERVICES" in text for text in never(report, "rules"))
    rules = report.data["rules"]
    assert 0 < rules["hit"] < rules["total"] == rules["hit"] + len(rules["never"])
    # the packet went by the default route: nothing ever went to node-1's own wire
    assert not any(text.startswith("default via") for text in never(report, "routes"))
    assert any(text.endswith("scope link src 192.168.51.11") for text in never(report, "routes"))


def test_the_command_prints_it(scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--coverage", "-d", str(tmp_path / "out"), str(scenario)]) == 0
    shown = capsys.readouterr().out
    assert "endpoints: 1 of 2 used; never:" in shown and "rules: " in shown and "routes: " in shown


def test_counters_are_laid_out_as_iptables_lays_them_out(scenario: Path) -> None:
    net = run(load(scenario)).cluster.nodes["node-1"].net
    report = counters(net)
    lines = report.text.splitlines()
    row = next(line for line in lines if "default/web cluster IP" in line and "KUBE-SVC" in line)
    assert row.split()[:7] == ["1", "60", row.split()[2], "tcp", "--", "*", "*"]
    assert "Chain KUBE-SERVICES (" in report.text and "Chain PREROUTING (policy ACCEPT)" in lines
    counted = sum(
        rule["packets"] for chains in report.data.values() for chain in chains.values() for rule in chain["rules"]
    )
    assert counted == sum(counter[0] for counter in net.ipv4.tables.counters.values()) > 0


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (99_999, "99999"), (100_000, "100K"), (9_999_400, "9999K"), (12_000_000, "12M")]
)
def test_big_counts_are_abbreviated(count: int, text: str) -> None:
    assert abbreviated(count) == text
