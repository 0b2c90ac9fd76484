"""Wrong input: one clear message with file, line and path, exit status 2, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.cli import main
from emu.kube.networks.network import networks

SCENARIO = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: story}
cluster:
  nodes: 1
manifests: [web.yaml]
steps:
- name: ask
  tcp: {from: default/client, to: "svc/web:80", send: hello}
  expect: {outcome: delivered}
"""
MANIFEST = """\
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: shell}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: web, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports:
  - port: 80
    targetPort: 8080
"""
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 10)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)

# what to change in the scenario or in the manifest, and the message
CASES = {
    "broken YAML": (
        ("nodes: 1", "nodes: [1"),
        "story.yaml:6: broken YAML: did not find expected ',' or ']' while parsing a flow sequence",
    ),
    "not a scenario": (
        ("kind: Scenario", "kind: Scenery"),
        'story.yaml:2: kind: "Scenery" is not allowed here (expected Scenario)',
    ),
    "an unknown key": (
        ("nodes: 1", "nodez: 1"),
        'story.yaml:5: cluster.nodez: unknown key "nodez" (expected "nodes"?)',
    ),
    "an unknown key in a step": (
        ("outcome: delivered", "outcome: delivered, when: now"),
        (
            'story.yaml:10: steps[0].expect.when: unknown key "when" (expected one of at, by, code, dnat, frames, outcome, '
            "place, policy, reason, received, seen, snat, tunnel)"
        ),
    ),
    "an unknown outcome": (
        ("outcome: delivered", "outcome: deliverd"),
        (
            'story.yaml:10: steps[0].expect.outcome: "deliverd" is not allowed here (expected "delivered"? '
            "(delivered, dropped, error, refused, rejected, timeout or undecided))"
        ),
    ),
    "a negative expectation without its reason": (
        ("outcome: delivered", "outcome: dropped"),
        "story.yaml:10: steps[0].expect: expecting dropped needs a reason (expected reason: ...)",
    ),
    "an expectation of nothing": (
        ('tcp: {from: default/client, to: "svc/web:80", send: hello}', "wait: 1s"),
        (
            "story.yaml:10: steps[0].expect: wait sends nothing that could be expected "
            "(expected expect beside tcp, udp, ping, send, replay, more, traffic)"
        ),
    ),
    "a step without an action": (
        ('  tcp: {from: default/client, to: "svc/web:80", send: hello}\n', ""),
        (
            "story.yaml:8: steps[0]: a step without an action "
            "(expected exactly one of tcp, udp, ping, send, replay, more, apply, traffic, delete, scale, drain, seen, wait, link, "
            "iptables, sysctl, route, rule, ipset, address, neigh, vpc, fdb)"
        ),
    ),
    "a step with two actions": (
        ("- name: ask\n", "- wait: 1s\n"),
        (
            "story.yaml:8: steps[0].wait: a step with tcp and wait "
            "(expected exactly one of tcp, udp, ping, send, replay, more, apply, traffic, delete, scale, drain, seen, wait, link, "
            "iptables, sysctl, route, rule, ipset, address, neigh, vpc, fdb)"
        ),
    ),
    "an unknown pod": (
        ("default/client", "default/cleint"),
        "story.yaml:9: steps[0].tcp.from: no pod is called 'default/cleint' (expected 'default/client'?)",
    ),
    "an unknown Service": (
        ("svc/web:80", "svc/wbe:80"),
        "story.yaml:9: steps[0].tcp.to: no Service is called 'wbe' (expected 'web'?)",
    ),
    "a Service port that is not there": (
        ("svc/web:80", "svc/web:81"),
        "story.yaml:9: steps[0].tcp.to: 'svc/web:81': the Service has no port '81' for TCP (expected 80/TCP)",
    ),
    "a target without a port": (
        ("svc/web:80", "svc/web"),
        'story.yaml:9: steps[0].tcp.to: "svc/web" has no port (expected svc/web:PORT)',
    ),
    "no endpoint": (
        ("default/client", "client"),
        (
            'story.yaml:9: steps[0].tcp.from: "client" is no endpoint (expected NS/POD, pod/NAME, node/NAME, '
            "svc/NAME[.NS]:PORT, external[/NAME], localhost, an IPv4 address, http://NAME[:PORT] or name:NAME[:PORT])"
        ),
    ),
    "a bad glob": (
        ("default/client", '"default/cli[en"'),
        (
            'story.yaml:9: steps[0].tcp.from: the glob "default/cli[en" has a [ without its ] '
            "(expected [...] around the characters)"
        ),
    ),
    "a bad duration": (
        ("send: hello", "timeout: 5 parsecs"),
        (
            'story.yaml:9: steps[0].tcp.timeout: "5 parsecs" is not a duration '
            "(expected a number with ns, us, ms, s, m or h, such as 5s or 200ms)"
        ),
    ),
    "a bad Scapy expression": (
        (
            'tcp: {from: default/client, to: "svc/web:80", send: hello}',
            "send: {from: default/client, scapy: IP(dts='1.2.3.4')}",
        ),
        (
            "story.yaml:9: steps[0].send.scapy: IP has no field 'dts' "
            "(expected chksum, dst, flags, frag, id, ihl, len, options, proto, src, tos, ttl, version)"
        ),
    ),
    "overlapping subnets": (
        ("nodes: 1", "nodes: 1\n  podSubnet: 10.0.0.0/8"),
        (
            "story.yaml:4: cluster.serviceSubnet: serviceSubnet 10.96.0.0/12 overlaps podSubnet 10.0.0.0/8 "
            "(expected subnets that do not overlap)"
        ),
    ),
    "overlapping nodes": (
        ("nodes: 1", "nodes: [{name: a, podCIDR: 10.244.0.0/24}, {name: b, podCIDR: 10.244.0.0/25}]"),
        (
            "story.yaml:5: cluster.nodes[1].podCIDR: podCIDR 10.244.0.0/25 of b overlaps 10.244.0.0/24 of a "
            "(expected subnets that do not overlap)"
        ),
    ),
    "host bits in a subnet": (
        ("nodes: 1", "nodes: 1\n  podSubnet: 10.244.1.0/16"),
        'story.yaml:6: cluster.podSubnet: "10.244.1.0/16" has host bits set (expected 10.244.0.0/16)',
    ),
    "too many nodes for the subnet": (
        ("nodes: 1", "nodes: 300\n  podSubnet: 10.244.0.0/16"),
        (
            "story.yaml:6: cluster.podSubnet: the pod subnet 10.244.0.0/16 has no room for node 'node-256' "
            "(expected a subnet with a /24 for each node)"
        ),
    ),
    "a full pod subnet": (
        ("nodes: 1", "nodes: 1\n  podSubnet: 10.244.0.0/30"),
        (
            'story.yaml:4: cluster: pod default/web gets no network on node-1: plugin type="bridge" failed (add): '
            "failed to allocate for range 0: no IP addresses available in range set: 10.244.0.1-10.244.0.2"
        ),
    ),
    "an unknown network": (
        ("nodes: 1", "network: brigde"),
        (
            "story.yaml:5: cluster.network: no network is called 'brigde' "
            f"(expected {', '.join(sorted(networks))}, or the path of a .conflist file)"
        ),
    ),
    "an unknown sysctl": (
        ("nodes: 1", "sysctls: {net.ipv4.ip_forwrd: 1}"),
        (
            "story.yaml:5: cluster.sysctls[\"net.ipv4.ip_forwrd\"]: no sysctl is called 'net.ipv4.ip_forwrd' "
            "(expected 'net.ipv4.ip_forward'?)"
        ),
    ),
    "an address outside of the service subnet": (
        ("  selector: {app: web}\n", "  selector: {app: web}\n  clusterIP: 1.2.3.4\n"),
        (
            "web.yaml:11: service/web spec.clusterIP: 1.2.3.4 is not in the service subnet "
            "(expected an address of 10.96.0.0/12)"
        ),
    ),
    "a missing .conflist": (
        ("nodes: 1", "network: my.conflist"),
        'story.yaml:5: cluster.network: there is no file "my.conflist" (expected "my.own.conflist"?)',
    ),
    "a broken .conflist": (
        ("  nodes: 1\n", "  network: my.own.conflist\n"),
        "my.own.conflist:1: not JSON: Expecting value",
    ),
    "a missing manifest": (
        ("[web.yaml]", "[wbe.yaml]"),
        'story.yaml:6: manifests[0]: there is no file "wbe.yaml" (expected "web.yaml"?)',
    ),
    "a manifest of a wrong type": (
        ("  - port: 80\n", '  - port: "http"\n'),
        'web.yaml:17: spec.ports[0].port: "http" is not an integer (expected a port number 1 to 65535)',
    ),
    "a pod that does not run": (
        ("spec: {containers: [{name: shell}]}", "spec: {nodeSelector: {disk: ssd}, containers: [{name: shell}]}"),
        (
            'story.yaml:9: steps[0].tcp.from: pod "default/client" does not run: 0/1 nodes are available: '
            "1 node(s) didn't match Pod's node affinity/selector"
        ),
    ),
    "an alias bomb": (
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: client}", BOMB),
        "web.yaml:1: its aliases expand to 123,456,804 values (expected at most 100,000)",
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stderr_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The text on stderr: one line, and nothing on stdout."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err.removesuffix("\n").removeprefix("error: ")


@pytest.mark.parametrize("case", CASES)
def test_one_message_with_its_place_and_nothing_written(
    case: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (old, new), message = CASES[case]
    assert (old in SCENARIO) or (old in MANIFEST)
    (folder / "story.yaml").write_text(SCENARIO.replace(old, new, 1))
    (folder / "web.yaml").write_text(MANIFEST.replace(old, new, 1))
    (folder / "my.own.conflist").write_text("plugins: []")
    before = sorted(folder.iterdir())
    assert main(["run", "story.yaml", "-d", "out"]) == 2
    assert stderr_line(capsys) == message
    assert sorted(folder.iterdir()) == before


def test_the_scenario_that_the_cases_change_is_right(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "story.yaml").write_text(SCENARIO)
    (folder / "web.yaml").write_text(MANIFEST)
    assert main(["run", "story.yaml", "-d", "out"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "absent.yaml"], "absent.yaml: No such file or directory"),
        (["validate", "absent.yaml"], "absent.yaml: No such file or directory"),
        (["run", "empty.yaml"], "empty.yaml: is empty (expected a scenario or manifests)"),
        (
            ["run", "web.yaml", "story.yaml"],
            "web.yaml: manifests beside scenarios (expected scenarios, which name their manifests, or manifests alone)",
        ),
        (["run", "-f", "."], "empty.yaml: manifests beside scenarios"),
        (["run"], "no scenario is named (expected FILE, -f FILE or -f FOLDER)"),
        (["frob"], "No such command 'frob' (emu --help, emu COMMAND --help)"),
        (["validate", "broken.rules"], "broken.rules:3: unknown option '--frobnicate'"),
        (["show", "rules", "node-9", "-f", "web.yaml"], "no node is called 'node-9'"),
        (
            ["trace", "-S", "client", "-D", "svc/wbe:80", "-f", "web.yaml"],
            "no Service is called 'wbe' (expected 'web'?)",
        ),
        (
            ["why", "--to", "svc/web:80", "web.yaml"],
            "Got unexpected extra argument(s) (web.yaml); a file is -f web.yaml (",
        ),
        (["why", "--to", "svc/web:80", "absent.yaml"], "Got unexpected extra argument(s) (absent.yaml) (emu --help"),
        (["demo", "no-such-story"], "no scenario of the gallery is called 'no-such-story'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command(arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty.yaml").write_text("# nothing\n")
    (folder / "story.yaml").write_text(SCENARIO)
    (folder / "web.yaml").write_text(MANIFEST)
    (folder / "broken.rules").write_text("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --frobnicate -j DROP\nCOMMIT\n")
    assert main(arguments) == 2
    assert stderr_line(capsys).startswith(message)
    assert not (folder / "captures").exists()


def test_a_folder_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "story.yaml").write_text(SCENARIO)
    (folder / "web.yaml").write_text(MANIFEST)
    (folder / "out").write_text("a file stands here")
    assert main(["run", "story.yaml", "-d", "out"]) == 2
    assert "cannot be written: " in stderr_line(capsys)
    assert (folder / "out").read_text() == "a file stands here"
