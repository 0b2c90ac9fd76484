"""`emu why` and `emu get` as people call them: the first two lines, lines of files, standard input, what runs, what is wrong."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import yaml

from emu.cli import main
from emu.kube.api.loader import load_documents, read
from emu.kube.live.relevant import relevant
from exports import Shape, export

FOUND = export(Shape("kubeadm", 4))


@pytest.fixture(params=["json", "yaml"])
def dump(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"dump.{request.param}"
    text = json.dumps(FOUND, indent=1) if request.param == "json" else yaml.safe_dump(FOUND, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_line_of_the_cause_is_that_of_its_field(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "-S", "default/tools", "-D", "svc/wrongname.shop:80", "-f", str(dump)]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("default/tools does not reach svc/wrongname.shop:80: ")
    place = re.search(rf"{re.escape(str(dump))}:(\d+)", second)
    assert place is not None and second.startswith('cause: targetPort "htpp" of service/shop/wrongname')
    line = dump.read_text(encoding="utf-8").splitlines()[int(place[1]) - 1]
    assert re.search(r"targetPort\"?: \"?htpp", line)


def test_the_answer_as_json(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "-S", "deploy/web", "-n", "shop", "-D", "cart.shop:80", "-f", str(dump), "-o", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["outcome"], data["cause"]) == ("rejected", "not-ready")
    assert data["flow"]["source"].startswith("shop/web-") and data["flow"]["delivered"] == 0


def test_a_pipe_is_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`kubectl get ... -o json | emu get pods -f -`"""
    path = tmp_path / "pipe"
    path.write_text(json.dumps(FOUND, indent=4), encoding="utf-8")
    monkeypatch.setattr("emu.kube.api.loader.read_text", lambda name: path.read_text(encoding="utf-8"))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["get", "nodes", "-f", "-"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
    assert rows[1] == ["node-000", "Ready", "control-plane", rows[1][3], "v1.33.4"] and len(rows) == 5


def test_a_pod_that_does_not_run_is_an_answer(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = next(
        each["metadata"]["name"]
        for each in FOUND["items"]
        if each["kind"] == "Pod" and "queue-" in each["metadata"]["name"]
    )
    assert main(["why", "-S", "default/tools", "-D", f"shop/{name}:80", "-f", str(dump)]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.endswith(f"pod shop/{name} does not run.") and "Insufficient cpu" in second


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (["-S", "default/tools", "-D", "wbe:80"], 'no pod, workload or Service is called "default/wbe"'),
        (["-S", "default/tools", "-D", "web:80"], '(expected "svc/web.shop"?)'),
        (["-S", "default/tools", "-D", "svc/kube-dns.kube-system"], "has 3 ports"),
        (["-S", "203.0.113.77", "-D", "svc/web.shop"], "nothing has the address 203.0.113.77"),
        (["-S", "default/tools"], "a question has two ends"),
    ],
)
def test_wrong_ends_are_one_sentence(
    ends: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(FOUND), encoding="utf-8")
    assert main(["why", *ends, "-f", str(path)]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_the_list_of_causes_needs_no_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "--list"]) == 0
    assert "selector-matches-nothing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ends", "named"),
    [
        (("default/tools", "svc/cart.shop:80"), {"cart", "tools", "coredns"}),
        (
            ("deploy/web", "http://alias.shop"),
            {"web", "coredns", "local"},
        ),  # of cluster.local: one too many does no harm
        (("default/tools", "svc/hand.shop:80"), {"tools", "web", "coredns"}),
    ],
)
def test_only_the_pods_of_the_question_run(ends: tuple[str, str], named: set[str], dump: Path) -> None:
    only = relevant(load_documents(read(dump), live=True).objects, ends)
    assert only is not None and {each.partition("/")[2].partition("-")[0] for each in only} == named


def test_a_glob_may_mean_any_pod(dump: Path) -> None:
    assert relevant(load_documents(read(dump), live=True).objects, ("shop/web-*", "svc/web.shop")) is None


def test_the_answer_comes_before_what_else_strikes_one(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was assumed stands in the answer; the rest is counted, and listed with -v."""
    question = ["why", "-S", "default/tools", "-D", "svc/cart.shop:80", "-f", str(dump)]
    assert main(question) == 0
    shown = capsys.readouterr()
    assert "assumed: the pod network is flannel\n" in shown.out
    assert shown.err == "note: 4 more remarks on the export (-v shows them)\n"
    assert main([*question, "-v"]) == 0
    listed = capsys.readouterr().err
    assert "the pod network is flannel" not in listed and "Insufficient cpu" in listed


POLICY = {
    "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "books"},
    "spec": {"podSelector": {"matchLabels": {"app": "ledger"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["b", "a"]}]}},
}  # fmt: skip


def test_several_kinds_are_several_tables_as_kubectl_prints_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "dump.json"
    path.write_text(json.dumps({**FOUND, "items": [*FOUND["items"], POLICY]}), encoding="utf-8")
    assert main(["get", "po,svc,netpol", "-n", "books", "-f", str(path)]) == 0
    pods, services, policies = capsys.readouterr().out.split("\n\n")
    assert [line.split()[0] for line in pods.splitlines()] == ["NAME", "pod/ledger-0", "pod/ledger-1"]
    assert [line.split()[:2] for line in services.splitlines()] == [["NAME", "TYPE"], ["service/ledger", "ClusterIP"]]
    assert policies.splitlines()[1].split()[:2] == ["networkpolicy.networking.k8s.io/p", "app=ledger,tier"]
    assert "app=ledger,tier in (a,b)" in policies
    assert main(["get", "netpol", "-n", "shop", "-f", str(path)]) == 0
    assert capsys.readouterr().out == "No resources found in shop namespace.\n"
    assert main(["get", "po,nodes", "-n", "books", "-f", str(path), "-o", "json"]) == 0
    assert [each["kind"] for each in json.loads(capsys.readouterr().out)["items"]] == ["Pod"] * 2 + ["Node"] * 4
    assert main(["get", "po,cnp", "-f", str(path)]) == 2
    assert "emu get prints no cnp" in capsys.readouterr().err


def test_a_flow_that_policies_allow_and_something_else_ends_is_called_so(
    dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "suggest", "-S", "default/tools", "-D", "svc/cart.shop:80", "-f", str(dump)]) in (0, 1)
    text = capsys.readouterr().out
    assert "policies allow it; it is rejected for another reason: emu why" in text
