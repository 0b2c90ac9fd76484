"""The commands: what goes to stdout and stderr, exit status, and the forms of results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import emu.cli.running
from emu.cli import main
from emu.cli.inputs import qualified
from emu.registry import Shelf
from emu.report import run_views, sentence, views
from small import MANIFESTS, head

STEPS = """\
- name: ask
  tcp: {from: default/client, to: "svc/web:80", send: hello}
  expect: {outcome: delivered, at: default/web}
"""
SCENARIO = head("story", STEPS, "web.yaml")
MANIFEST = f"{MANIFESTS}---\n{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: robot}}}}\n"

Capsys = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "story.yaml").write_text(SCENARIO)
    (tmp_path / "web.yaml").write_text(MANIFEST)
    return tmp_path


def test_run_ends_with_a_table(capsys: Capsys, folder: Path) -> None:
    assert main(["run", "story.yaml"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    heading, row, last = captured.out.rstrip("\n").splitlines()
    assert heading.split() == ["STEP", "OUTCOME", "WHERE", "NAT", "FRAMES", "FILE"]
    assert row.split()[:3] == ["1", "ask", "delivered"]
    assert "DNAT 10.96.0.10:80 -> 10.244.2.2:8080" in row
    assert row.endswith("01-ask.pcapng")
    assert last == "story: 1 flow, 2 checks, all held; captures in captures/story"
    assert (folder / "captures" / "story" / "01-ask.pcapng").exists()


def test_an_expectation_that_fails(capsys: Capsys, folder: Path) -> None:
    (folder / "story.yaml").write_text(SCENARIO.replace("at: default/web", "at: default/db"))
    assert main(["run", "story.yaml", "-d", "out"]) == 1
    out = capsys.readouterr().out
    assert "FAILED step 1, ask (default/client -> svc/web:80): at is default/web, expected default/db" in out
    assert "story: 1 flow, 2 checks, 1 failed" in out
    assert (folder / "out" / "story" / "all.pcapng").exists()


def test_where_nothing_is_expected_nothing_fails(capsys: Capsys, folder: Path) -> None:
    """It is stated, on stderr and in the data."""
    (folder / "story.yaml").write_text(SCENARIO.rpartition("  expect")[0])
    assert main(["run", "story.yaml", "-d", "out"]) == 0
    shown = capsys.readouterr()
    assert "nothing was checked" in shown.out and "note: story: nothing was checked" in shown.err
    assert main(["run", "story.yaml", "-d", "out", "-o", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["checks"], data["exitStatus"]) == (0, 0) and data["nothingChecked"].startswith("nothing was checked: ")


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_results_as_data(form: str, read: object, capsys: Capsys) -> None:
    assert callable(read)
    assert main(["run", "story.yaml", "-d", "out", "-o", form]) == 0
    data = read(capsys.readouterr().out)
    (step,) = data["steps"]
    (flow,) = step["flows"]
    assert (flow["outcome"], flow["at"], flow["received"]) == ("delivered", "default/web", "hello")
    assert (data["checks"], data["exitStatus"], data["failures"]) == (2, 0, [])
    assert [each["held"] for each in data["invariants"]] == [True, True, True]


def test_several_scenarios_and_one_name_twice(capsys: Capsys, folder: Path) -> None:
    (folder / "other.yaml").write_text(SCENARIO.replace("story", "other"))
    assert main(["run", "story.yaml", "other.yaml", "-d", "out"]) == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["other", "story"]
    capsys.readouterr()
    assert main(["run", "story.yaml", "story.yaml"]) == 2
    assert 'two scenarios are called "story"' in capsys.readouterr().err


def test_all_frames_to_one_file(capsys: Capsys, folder: Path) -> None:
    assert main(["run", "story.yaml", "-w", "all.pcapng"]) == 0
    assert (folder / "all.pcapng").read_bytes()[:4] == b"\n\r\r\n"
    assert not (folder / "captures").exists()


def test_walks_before_the_table(capsys: Capsys) -> None:
    assert main(["run", "story.yaml", "-d", "out", "--walk"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "ask"
    assert second.startswith("1/1 default/client/eth0 ")


def test_split_by_interface_reports_what_is_lost(capsys: Capsys, folder: Path) -> None:
    assert main(["run", "story.yaml", "-d", "out", "--split", "interface"]) == 0
    assert "classic pcap files hold no comments" in capsys.readouterr().err
    assert (folder / "out" / "story" / "default.client.eth0.pcap").exists()


def test_trace_there_and_back(capsys: Capsys, folder: Path) -> None:
    assert main(["trace", "-S", "client", "-D", "svc/web:80", "-f", ".", "-o", "json", "-w", "x.pcapng"]) == 2
    assert "one scenario file, or manifests" in capsys.readouterr().err
    (folder / "story.yaml").unlink()
    assert main(["trace", "-S", "client", "-D", "svc/web:80", "-f", ".", "-o", "json", "-w", "x.pcapng"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [(each["to"], each["probability"]) for each in data["endpoints"]] == [("10.244.2.2:8080", 1.0)]
    assert (data["outcome"], data["at"]) == ("delivered", "default/web")
    assert (data["there"][0]["interface"], data["there"][0]["way"]) == ("default/client/eth0", "out")
    assert data["there"][-1]["interface"] == "default/web/eth0"
    assert data["back"][0]["interface"] == "default/web/eth0"
    assert (data["back"][-1]["interface"], data["back"][-1]["way"]) == ("default/client/eth0", "in")
    assert [each["hop"] for each in data["there"] + data["back"]] == sorted(
        each["hop"] for each in data["there"] + data["back"]
    )
    assert (folder / "x.pcapng").exists()


def test_show_after_the_steps_of_a_scenario(capsys: Capsys) -> None:
    assert main(["show", "conntrack", "node-1", "-f", "story.yaml", "-o", "json"]) == 0
    (conn,) = json.loads(capsys.readouterr().out)
    assert conn["original"]["dst"] == "10.96.0.10"
    assert conn["reply"]["src"] == "10.244.2.2"
    assert conn["natted"]
    assert main(["show", "conntrack", "node-1", "-f", "web.yaml"]) == 0
    assert capsys.readouterr().out == ""


def test_show_a_pod(capsys: Capsys) -> None:
    assert main(["show", "routes", "default/client", "-f", "web.yaml"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "default via 10.244.1.1 dev eth0"


def test_show_the_route_to_an_address(capsys: Capsys) -> None:
    show = ["show", "routes", "default/client", "-f", "web.yaml", "--get"]
    assert main([*show, "10.96.0.10"]) == 0
    assert capsys.readouterr().out == "10.96.0.10 via 10.244.1.1 dev eth0 src 10.244.1.2 uid 0\n    cache\n"
    assert main([*show, "10.244.1.2", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "dst": "10.244.1.2", "local": True, "dev": "lo", "prefsrc": "10.244.1.2", "uid": "0", "cache": "<local>",
    }  # fmt: skip
    assert main([*show, "10.244.1.9", "--from", "10.244.1.2", "--mark", "0x4000"]) == 0
    assert capsys.readouterr().out.startswith("10.244.1.9 from 10.244.1.2 dev eth0 mark 0x4000 uid 0\n")
    assert main(["show", "rules", "node-1", "-f", "web.yaml", "--get", "10.0.0.1"]) == 2
    assert "--get asks for a route" in capsys.readouterr().err
    assert main(["show", "routes", "node-1", "-f", "web.yaml", "--from", "10.0.0.1"]) == 2
    assert main([*show, "10.0.0"]) == 2


@pytest.mark.parametrize(("command", "shelf"), [("show", views), ("run", run_views), ("demo", run_views)])
def test_the_help_lists_the_views(command: str, shelf: Shelf[Any], capsys: Capsys) -> None:
    assert main([command, "--help"]) == 0
    listed = " ".join(capsys.readouterr().out.partition("Views:")[2].split())
    assert all(f"{name}: {sentence(shelf[name])}." in listed for name in shelf)


def test_the_help_of_all_commands_looks_no_view_up() -> None:
    """What a command needs is imported when it runs."""
    program = "import sys\nfrom emu.cli import main\nmain(['--help'])\nsys.exit(any(name.startswith(('emu.report', 'emu.scenario', 'emu.kernel')) for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_view_is_refused_before_anything_runs(capsys: Capsys, folder: Path) -> None:
    assert main(["run", "story.yaml", "--view", "laddr"]) == 2
    assert capsys.readouterr().err == "error: no view of a run is called 'laddr' (expected 'ladder'?)\n"
    assert not (folder / "captures").exists()
    assert main(["show", "weather", "node-1", "-f", "story.yaml"]) == 2
    assert "no view of a node is called 'weather' (expected conntrack, counters" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(run_views))
def test_a_view_of_a_run_after_the_table(name: str, capsys: Capsys) -> None:
    assert main(["run", "story.yaml", "-d", "out", "--view", name, "-o", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert name in ("table", "policy-coverage") or data[name], "it has no policies"
    assert data["exitStatus"] == 0


def test_validate_counts_and_warns(capsys: Capsys, folder: Path) -> None:
    (folder / "web.yaml").write_text(MANIFEST.replace("targetPort: 8080", "targetPort: 81"))
    assert main(["validate", "story.yaml", "web.yaml"]) == 0
    captured = capsys.readouterr()
    warning = "service/web: targetPort 81 of port 80 is declared by no container: it will refuse"
    assert captured.err == f"note: web.yaml:8: {warning}\n" * 2
    assert "2 Pod, 1 Service, 1 steps" in captured.out
    assert "serviceaccount/robot" in captured.out


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (("selector: {app: web}", "selector: {app: wbe}"), "its selector matches no pod, so it has no endpoints"),
        (
            ("targetPort: 8080", "targetPort: http"),
            'no container has a TCP port named "http", so port 80 has no endpoints',
        ),
        (
            ("port: 80,", "port: 80, protocol: UDP,"),
            "targetPort 8080 of port 80 is declared by no container: it is taken to listen",
        ),
    ],
)
def test_warnings(change: tuple[str, str], warning: str, capsys: Capsys, folder: Path) -> None:
    (folder / "web.yaml").write_text(MANIFEST.replace(*change))
    assert main(["validate", "web.yaml"]) == 0
    assert capsys.readouterr().err == f"note: web.yaml:8: service/web: {warning}\n"


def test_validate_counts_many_objects_without_effect(capsys: Capsys, folder: Path) -> None:
    robots = "".join(
        f"---\n{{apiVersion: v1, kind: {kind}, metadata: {{name: {name}}}}}\n"
        for kind, names in {"ConfigMap": "abc", "Secret": "de"}.items()
        for name in names
    )
    (folder / "more.yaml").write_text(MANIFEST + robots)
    assert main(["validate", "more.yaml"]) == 0
    assert "3 configmap, serviceaccount/robot, secret/d, secret/e" in capsys.readouterr().out
    assert main(["validate", "more.yaml", "-o", "json"]) == 0
    assert "configmap/c" in json.loads(capsys.readouterr().out)[0]["ignored"]


def test_validate_reads_rules(capsys: Capsys, folder: Path) -> None:
    (folder / "a.rules").write_text("*filter\n-A INPUT -j ACCEPT\nCOMMIT\n")
    assert main(["validate", "a.rules", "-o", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["kind"], row["objects"]) == ("iptables-save", {"tables": 1, "rules": 1})


def test_schema_is_json(capsys: Capsys) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "emu scenario"


def test_our_own_fault(capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_options: object) -> int:
        raise ZeroDivisionError("somewhere")

    monkeypatch.setattr(emu.cli.running, "run_files", broken)
    assert main(["run", "story.yaml"]) == 4
    assert capsys.readouterr().err == (
        "error: emu itself failed: ZeroDivisionError: somewhere (--debug before the command shows where)\n"
    )
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "run", "story.yaml"])


@pytest.mark.parametrize("command", ["run", "demo", "trace", "show", "validate", "schema"])
def test_help_of_every_command(command: str, capsys: Capsys) -> None:
    assert main([command, "--help"]) == 0
    assert f"emu {command}" in capsys.readouterr().out


def test_no_command_shows_the_help(capsys: Capsys) -> None:
    assert main([]) == 0
    assert "validate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "namespace", "full"),
    [
        ("client", "shop", "shop/client"),
        ("pod/client", "shop", "shop/client"),
        ("default/client", "shop", "default/client"),
        ("svc/web:80", "shop", "svc/web.shop:80"),
        ("svc/web.other:80", "shop", "svc/web.other:80"),
        ("svc/web:80", "default", "svc/web:80"),
        ("node/node-1", "shop", "node/node-1"),
        ("10.0.0.1:80", "shop", "10.0.0.1:80"),
        ("external", "shop", "external"),
        ("localhost:80", "shop", "127.0.0.1:80"),
        ("client:80", "shop", "shop/client:80"),
    ],
)
def test_names_in_a_namespace(text: str, namespace: str, full: str) -> None:
    assert qualified(text, namespace) == full
