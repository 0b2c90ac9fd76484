"""`emu trace --rules --dot`: chains as clusters, the visited rules in order, what decided marked, a way for each outcome."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emu.cli import main
from emu.report.node import read_node
from emu.report.outcomes import Probe
from emu.report.packet import trace
from emu.report.rule_graph import graph
from emu.wire.addr import ip4
from emu.wire.frame import TCP

RULES = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:TEAM - [0:0]
-A FORWARD -p tcp -m comment --comment "a \\"team\\" decides" -j TEAM
-A TEAM -p tcp -m tcp --dport 23 -j DROP
-A TEAM -d 10.1.0.0/16 -j RETURN
-A TEAM -d 10.2.0.0/16 -j ACCEPT
-A FORWARD -d 10.1.0.9/32 -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:SVC - [0:0]
:ONE - [0:0]
:TWO - [0:0]
-A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j SVC
-A SVC -m statistic --mode random --probability 0.5 -j ONE
-A SVC -j TWO
-A ONE -p tcp -j DNAT --to-destination 10.2.0.1:8080
-A TWO -p tcp -j DNAT --to-destination 10.2.0.2:8080
COMMIT
"""
NODE = re.compile(r'^        "([^"]+)" \[label="((?:[^"\\]|\\.)*)"(?:, fillcolor="(#\w+)", penwidth=3)?\];$', re.M)
EDGE = re.compile(r'^    "([^"]+)" -> "([^"]+)" \[label="([\d/]+)", ', re.M)
RED, VIOLET = "#ffa5a5", "#e2d3ff"


def drawn(to: str, port: int) -> str:
    node = read_node(RULES)
    traced = trace(node, Probe(TCP, ip4("10.3.0.1"), ip4(to), 40000, port, "eth1"))
    text = graph(traced.head, traced.groups)
    program = shutil.which("dot")
    if program is not None:
        subprocess.run([program, "-Tcanon"], input=text, text=True, capture_output=True, check=True)
    return text


def ways(text: str) -> dict[str, list[str]]:
    """The nodes of each outcome, in the order of its steps."""
    found: dict[str, list[str]] = {}
    for one, other, step in EDGE.findall(text):
        way = step.partition("/")[0] if "/" in step else "1"
        known = found.setdefault(way, [one])
        assert known[-1] == one and step.rpartition("/")[2] == str(len(known))
        known.append(other)
    return found


@pytest.mark.parametrize(
    ("to", "port", "way", "decider", "colour"),
    [
        ("10.9.0.1", 23, ["filter FORWARD 1", "filter TEAM 1"], "filter TEAM 1", RED),
        ("10.1.0.1", 80, ["filter FORWARD 1", "filter TEAM 2", "filter FORWARD policy"], "filter FORWARD policy", RED),
        ("10.1.0.9", 80, ["filter FORWARD 1", "filter TEAM 2", "filter FORWARD 2"], "", ""),
        ("10.2.0.9", 80, ["filter FORWARD 1", "filter TEAM 3"], "", ""),
    ],
)
def test_the_way_of_one_outcome(to: str, port: int, way: list[str], decider: str, colour: str) -> None:
    text = drawn(to, port)
    (shown,) = ways(text).values()
    assert shown[0] == "packet" and shown[-1] == "outcome 1"
    assert [node for node in shown[1:-1] if not node.startswith("route ")] == way
    marked = {name: found for name, _, found in NODE.findall(text) if found}
    assert marked == ({decider: colour} if decider else {})


def test_two_outcomes_part_at_the_statistic_and_have_a_decider_each() -> None:
    text = drawn("10.96.0.1", 80)
    found = ways(text)
    assert [way[1:4] for way in found.values()] == [
        ["nat PREROUTING 1", "nat SVC 1", "nat ONE 1"],
        ["nat PREROUTING 1", "nat SVC 2", "nat TWO 1"],
    ]
    assert [way[-1] for way in found.values()] == ["outcome 1", "outcome 2"]
    marked = {name: colour for name, _, colour in NODE.findall(text) if colour}
    assert marked == {"nat ONE 1": VIOLET, "nat TWO 1": VIOLET}
    assert text.count("50.0000%") == 2


def test_a_chain_is_a_cluster_and_its_rules_stand_in_order() -> None:
    text = drawn("10.1.0.9", 80)
    clusters = re.findall(r'subgraph "cluster_([^"]+)" \{\n(.*?)\n    \}', text, re.S)
    assert [name for name, _ in clusters] == ["filter FORWARD", "filter TEAM"]
    assert [name for name, *_ in NODE.findall(clusters[0][1] + "\n")] == ["filter FORWARD 1", "filter FORWARD 2"]
    labels = {name: label for name, label, _ in NODE.findall(text)}
    assert labels["filter TEAM 2"] == "rule 2, line 8\\n-d 10.1.0.0/16 -j RETURN"
    assert '\\\\\\"team' in labels["filter FORWARD 1"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "node.rules"
    rules.write_text(RULES)
    words = [
        "trace",
        "--rules",
        str(rules),
        "--from",
        "10.3.0.1",
        "--in-iface",
        "eth1",
        "--to",
        "10.9.0.1:23/tcp",
        "--dot",
    ]
    status, (out, _) = main(words), capsys.readouterr()
    assert status == 0 and out.startswith("digraph emu {\n") and out.endswith("}\n")
    assert RED in out


def test_in_a_cluster_it_draws_the_interfaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pods = tmp_path / "pods.yaml"
    pods.write_text(
        "---\n".join(
            f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c}}]}}\n"
            for name in ("a", "b")
        )
    )
    words = ["trace", "-S", "default/a", "-D", "default/b", "-p", "icmp", "-f", str(pods), "--nodes", "1", "--dot"]
    status, (out, _) = main(words), capsys.readouterr()
    assert status == 0 and out.startswith("graph emu {\n")
    assert (
        len(re.findall(r'"default/\w/eth0" -- "node-1/veth', out)) + len(re.findall(r'-- "default/\w/eth0"', out)) == 2
    )
