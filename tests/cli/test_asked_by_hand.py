"""Small things that people met who used emu for an hour, each with the question that showed it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import emu
from emu.cli import main

DOCKER = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:45003
COMMIT
"""


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "node.rules"
    path.write_text(DOCKER, encoding="utf-8")
    return str(path)


def test_a_translation_that_a_packet_meets_again_behind_lo_is_stated_once(
    rules: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    routes = tmp_path / "routes.json"
    routes.write_text(json.dumps([{"dst": "default", "gateway": "192.168.49.1", "dev": "eth0"}]), encoding="utf-8")
    ends = ["--from", "127.0.0.1", "--to", "127.0.0.11:53/udp"]
    assert main(["trace", "--rules", rules, "--routes", str(routes), *ends]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines.count("DNAT 127.0.0.11:53 -> 127.0.0.11:45003") == 1
    assert lines.count("un-DNAT 127.0.0.11:45003 -> 127.0.0.11:53") == 1


def test_a_service_is_nothing_that_a_nodes_rules_know(rules: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "--rules", rules, "--from", "10.0.0.9", "--to", "svc/api.shop:80"]) == 2
    assert "rules know addresses alone" in capsys.readouterr().err


def test_two_interfaces_in_one_subnet() -> None:
    """The kernel appends the second connected route."""
    lab = emu.Lab()
    one, two = lab.host("one"), lab.host("two")
    lab.cable(one, "10.0.0.1/24", two, "10.0.0.2/24")
    lab.cable(one, "10.0.0.3/24", two, "10.0.0.4/24")
    connected = [each.text() for each in one.ipv4.fib.main if each.prefix.length == 24]
    assert len(connected) == 2 and len({text.partition("dev ")[2].split()[0] for text in connected}) == 2


ITSELF = """\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


def test_a_pod_that_is_its_own_endpoint_is_told_about_hairpin_mode(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """NO_TX_TARGET alone tells nobody: the cause names the mode, and so does the frame's comment."""
    path = tmp_path / "web.yaml"
    path.write_text(ITSELF, encoding="utf-8")
    ends = ["-S", "default/web", "-D", "svc/web", "-f", str(path)]
    cause = "cause: pod/default/web is its own endpoint, and hairpin mode is off at node-1/"
    assert main(["why", *ends]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(cause)
    assert main(["trace", *ends]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(cause)
    (drop,) = [each for each in lines if " drops a connection request" in each and "while hairpin mode is off" in each][
        :1
    ]
    assert "default/web:80" in drop


NODE = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -d 10.30.0.10/32 -p tcp -m tcp --dport 30081 -j DNAT --to-destination 10.244.2.9:8080
COMMIT
"""
PASTED = {
    "--routes": (
        ("default via 192.168.51.1 dev eth0 \n10.244.1.0/24 dev cni0 proto kernel scope link src 10.244.1.1 linkdown \n"
        "10.244.2.0/24 via 192.168.51.12 dev eth0 \n192.168.51.0/24 dev eth0 proto kernel scope link src 192.168.51.11 \n"),
        [
            {"dst": "default", "gateway": "192.168.51.1", "dev": "eth0", "flags": []},
            {"dst": "10.244.1.0/24", "dev": "cni0", "protocol": "kernel", "scope": "link", "prefsrc": "10.244.1.1", "flags": ["linkdown"]},
            {"dst": "10.244.2.0/24", "gateway": "192.168.51.12", "dev": "eth0", "flags": []},
            {"dst": "192.168.51.0/24", "dev": "eth0", "protocol": "kernel", "scope": "link", "prefsrc": "192.168.51.11", "flags": []},
        ],
    ),
    "--ip-rules": (
        "0:\tfrom all lookup local \n32766:\tfrom all lookup main \n32767:\tfrom all lookup default \n",
        [{"priority": 0, "src": "all", "table": "local"}, {"priority": 32766, "src": "all", "table": "main"},
         {"priority": 32767, "src": "all", "table": "default"}],
    ),
    "--addresses": (
        ("2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP group default qlen 1000\n"
        "    link/ether 02:42:c0:a8:33:0b brd ff:ff:ff:ff:ff:ff\n"
        "    inet 192.168.51.11/24 brd 192.168.51.255 scope global eth0\n       valid_lft forever preferred_lft forever\n"),
        [{"ifname": "eth0", "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"], "mtu": 1500, "operstate": "UP", "address": "02:42:c0:a8:33:0b",
          "addr_info": [{"family": "inet", "local": "192.168.51.11", "prefixlen": 24, "scope": "global"}]}],
    ),
    "--neighbours": (
        "192.168.51.12 dev eth0 lladdr 02:42:c0:a8:33:0c REACHABLE \nfe80::1 dev eth0 lladdr 02:42:c0:a8:33:01 router STALE \n",
        [{"dst": "192.168.51.12", "dev": "eth0", "lladdr": "02:42:c0:a8:33:0c", "state": ["REACHABLE"]}],
    ),
}  # fmt: skip
"""What `ip` prints without -j, as threads have it, and what it prints with -j."""


@pytest.mark.parametrize("prompt", ["", "root@node-1:~# "])
@pytest.mark.parametrize("option", PASTED)
def test_what_ip_prints_as_text_is_taken_as_its_json(
    option: str, prompt: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No thread has JSON: each file as text, the others as JSON, gives the answer that JSON alone gives."""
    commands = {"--routes": "ip route", "--ip-rules": "ip rule", "--addresses": "ip addr", "--neighbours": "ip neigh"}
    (tmp_path / "node.rules").write_text(NODE, encoding="utf-8")
    answers = []
    for pasted in (None, option):
        given = ["--rules", str(tmp_path / "node.rules")]
        for name, (text, values) in PASTED.items():
            path = tmp_path / f"{name}.txt"
            shown = f"{prompt}{commands[name]}\n{text}" if prompt else text
            path.write_text(shown if name == pasted else json.dumps(values), encoding="utf-8")
            given += [name, str(path)]
        ends = ["--from", "203.0.113.9", "--in-iface", "eth0", "--to", "10.30.0.10:30081/tcp"]
        assert main(["trace", *given, *ends, "-o", "json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1]
    (outcome,) = answers[1]["outcomes"]
    assert outcome["summary"] == "leaves to 10.244.2.9:8080 out of eth0 to the next hop 192.168.51.12"
