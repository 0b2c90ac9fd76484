"""Whole runs: steps in order, files with their names, nothing half-written, the same bytes twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.errors import InputError
from emu.scenario.files import LIST, slug
from emu.scenario.run import run
from emu.scenario.script import load_text

OBJECTS = """
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: alt, port: 81, targetPort: 8080}]}
"""


def scenario(steps: str) -> str:
    head = "apiVersion: emu/v1\nkind: Scenario\nmetadata: {name: story}\nsteps:\n"
    return head + steps + OBJECTS


def names(folder: Path) -> list[str]:
    """What lies in a folder, but the list of what a run wrote."""
    return sorted(path.name for path in folder.iterdir() if path.name != LIST)


def test_every_kind_of_step(tmp_path: Path) -> None:
    steps = """\
- name: The client asks!
  tcp: {from: default/client, to: "svc/web:80", send: hello}
  expect: {outcome: delivered, at: default/web-*}
- scale: {deployment/web: 0}
- tcp: {from: default/client, to: "svc/web:http"}
  expect: {outcome: rejected, code: port-unreachable}
- name: one more
  apply: {apiVersion: v1, kind: Pod, metadata: {name: db}, spec: {containers: [{name: c, ports: [{containerPort: 53, protocol: UDP}]}]}}
- udp: {from: default/client, to: "default/db:53", send: question}
  expect: {outcome: delivered, received: question}
- delete: pod/db
- wait: 5s
- link: {pod: default/client, delay: 5ms}
- ping: {from: default/client, to: node/node-2}
- send: {from: default/client, scapy: "IP(dst='203.0.113.10')/ICMP()"}
"""
    done = run(load_text(scenario(steps)), tmp_path)
    assert done.failures == []
    assert done.exit_status == 0
    assert [step.change for step in done.steps if step.change] == [
        "scaled deployment/web to 0",
        "applied pod/db",
        "deleted pod/db",
        "waited 5s",
        "link of default/client: delay 5ms",
    ]
    assert done.steps[8].flows[0].flow.rtt_ns[0] >= 10_000_000
    assert done.folder == tmp_path / "story"
    assert names(done.folder) == [
        "01-the-client-asks.client.pcapng",
        "01-the-client-asks.pcapng",
        "03-tcp.client.pcapng",
        "03-tcp.pcapng",
        "05-udp.client.pcapng",
        "05-udp.pcapng",
        "09-ping.client.pcapng",
        "09-ping.pcapng",
        "10-send.client.pcapng",
        "10-send.pcapng",
        "all.pcapng",
    ]


def test_several_flows_of_one_step_write_several_files(tmp_path: Path) -> None:
    done = run(load_text(scenario('- tcp: {from: default/*, to: "svc/web:*", send: x}\n')), tmp_path)
    assert len(done.steps[0].flows) == 6
    assert done.folder is not None
    files = [name for name in names(done.folder) if not name.endswith(".client.pcapng")]
    assert len(files) == 7
    assert "01-tcp.default-client.svc-web-80.pcapng" in files


def test_the_same_scenario_gives_the_same_bytes(tmp_path: Path) -> None:
    text = scenario('- tcp: {from: default/client, to: "svc/web:80", send: x}\n')
    for folder in ("one", "two"):
        run(load_text(text), tmp_path / folder)
    for name in names(tmp_path / "one" / "story"):
        assert (tmp_path / "one" / "story" / name).read_bytes() == (tmp_path / "two" / "story" / name).read_bytes()


def test_what_goes_wrong_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    steps = '- tcp: {from: default/client, to: "svc/web:80"}\n- delete: service/web\n- tcp: {from: default/client, to: "svc/web:80"}\n'
    with pytest.raises(InputError) as wrong:
        run(load_text(scenario(steps)), tmp_path / "out")
    assert str(wrong.value) == "scenario.yaml:7: steps[2].tcp.to: no Service is called 'web' (expected a Service)"
    assert not (tmp_path / "out").exists()


def test_a_wrong_end_is_reported_before_anything_is_sent(tmp_path: Path) -> None:
    built = []

    def build(script: object) -> object:
        from emu.scenario.build import build as real

        built.append(real(script))  # type: ignore[arg-type]  # handed through
        return built[0]

    steps = '- tcp: {from: default/client, to: "svc/web:80"}\n- ping: {from: default/client, to: default/absent}\n'
    with pytest.raises(InputError, match=r"steps\[1\]\.ping\.to"):
        run(load_text(scenario(steps)), build=build)  # type: ignore[arg-type]  # as above
    assert built[0].flows == {}


def test_a_second_run_takes_away_what_it_no_longer_writes(tmp_path: Path) -> None:
    first = '- name: old\n  tcp: {from: default/client, to: "svc/web:80"}\n'
    run(load_text(scenario(first)), tmp_path)
    (tmp_path / "story" / "README.md").write_text("by hand")
    run(load_text(scenario(first.replace("old", "new"))), tmp_path)
    assert names(tmp_path / "story") == ["01-new.client.pcapng", "01-new.pcapng", "README.md", "all.pcapng"]
    assert names(tmp_path) == ["story"]


def test_split_by_interface(tmp_path: Path) -> None:
    done = run(load_text(scenario("- ping: {from: default/client, to: node/node-1}\n")), tmp_path, split="interface")
    assert done.folder is not None
    assert "default.client.eth0.pcap" in names(done.folder)
    assert all(name.endswith(".pcap") for name in names(done.folder))
    assert done.notes == ["classic pcap files hold no comments, no names and no interface names: those are lost"]


def test_a_flow_that_sends_nothing_has_no_file(tmp_path: Path) -> None:
    steps = """\
- tcp: {from: default/client, to: "default/client:1", port: 9}
  expect: {outcome: refused}
- tcp: {from: "default/web-*", to: "default/client:1", port: 8080}
  expect: {outcome: error, reason: EADDRINUSE}
"""
    text = scenario(steps)
    done = run(load_text(text), tmp_path)
    assert done.failures == []
    assert done.steps[1].flows[0].files == ()


def test_the_story_stands_in_the_comments(tmp_path: Path) -> None:
    steps = """\
- ping: {from: default/client, to: node/node-1}
  story:
  - {says: "step (1): out of the pod", at: default/client/eth0, way: out, when: "*echo-request*"}
  - {says: "step (2): onto the bridge", at: "node-1/veth*", way: in, when: "*echo-request*"}
"""
    done = run(load_text(scenario(steps)), tmp_path)
    comments = [frame.comment() for frame in done.steps[0].flows[0].flow.frames]
    assert sum("step (1): out of the pod" in text for text in comments) == 1
    assert sum("step (2): onto the bridge" in text for text in comments) == 1


@pytest.mark.parametrize(
    ("text", "name"), [("The client asks!", "the-client-asks"), ("svc/web:80", "svc-web-80"), ("é", "")]
)
def test_names_of_files(text: str, name: str) -> None:
    assert slug(text) == name
