"""`emu sweep`: each row and capture is what `emu run` makes of a file with these values, whatever runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

import local_dask
from emu.cli import main
from emu.scenario import gallery
from emu.scenario.run import run
from emu.sweep.runs import sweep

ROOT = Path(__file__).parents[2]
OVER_DASK = {*sorted(gallery.stories())[::3], "guestbook", "microservices-demo"}  # each costs a second
Capsys = pytest.CaptureFixture[str]
SHOP = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: shop}
seed: 0
cluster: {nodes: 2, network: bridge}
manifests: [pods.yaml]
steps:
- name: a bad cable
  link: {node: node-2, loss: 0}
- name: ask
  tcp: {from: default/client, to: "svc/web:80", send: "GET / HTTP/1.0\\r\\n\\r\\n"}
  expect: {outcome: delivered, at: default/web, frames: 120}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
PODS = """\
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}, annotations: {emu/app: http@8080}}
spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 8080}]}]}
"""
# a sweep, and how each combination is written by hand: what is replaced in the file
SWEEPS: dict[str, tuple[list[str], dict[str, dict[str, str]]]] = {
    "one build for all": (
        ["steps[0].link.loss=0,0.2", "steps.ask.tcp.from=default/client,node/node-1"],
        {
            f"loss-{loss.replace('.', '-')}.from-{sender.replace('/', '-')}": {"loss: 0}": f"loss: {loss}}}", "from: default/client": f"from: {sender}"}
            for loss in ("0", "0.2")
            for sender in ("default/client", "node/node-1")
        },
    ),
    "builds that are shared and not": (
        ["cluster.network=bridge,flannel", "steps[0].link.loss=0,0.2"],
        {
            f"network-{network}.loss-{loss.replace('.', '-')}": {"network: bridge": f"network: {network}", "loss: 0}": f"loss: {loss}}}"}
            for network in ("bridge", "flannel")
            for loss in ("0", "0.2")
        },
    ),
    "seeds and manifests": (
        ["seed=3..4", "manifests[0]=pods.yaml,more.yaml"],
        {
            f"seed-{seed}.manifests-{name}-yaml": {"seed: 0": f"seed: {seed}", "pods.yaml": f"{name}.yaml"}
            for seed in ("3", "4")
            for name in ("pods", "more")
        },
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("shop.yaml").write_text(SHOP)
    Path("pods.yaml").write_text(PODS)
    Path("more.yaml").write_text(PODS + "---\n" + PODS.partition("---")[0].replace("client", "other"))
    return tmp_path


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A Dask cluster of two processes on this machine."""
    with local_dask.scheduler() as address:
        yield address


# -- what a run gives --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SWEEPS)
def test_a_run_gives_what_its_values_written_by_hand_give(name: str, folder: Path, capsys: Capsys) -> None:
    over, by_hand = SWEEPS[name]
    words = [word for each in over for word in ("--over", each)]
    main(["sweep", "shop.yaml", *words, "-j", "1", "-d", "swept", "-o", "json"])
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [each["folder"] for each in runs] == [f"swept/shop/{each}" for each in by_hand]
    for (stem, changes), swept in zip(by_hand.items(), runs, strict=True):
        text = SHOP
        for before, after in changes.items():
            assert before in text
            text = text.replace(before, after)
        (folder / "hand.yaml").write_text(text)
        status = main(["run", "hand.yaml", "-d", "hand", "-o", "json"])
        alone = json.loads(capsys.readouterr().out)
        assert files_in(folder / "swept" / "shop" / stem) == files_in(folder / "hand" / "shop")
        assert swept["exitStatus"] == status and swept["result"] == ("failed" if status else "held")
        for flow in (flow for step in alone["steps"] for flow in step["flows"]):
            flow["files"] = [Path(each).name for each in flow["files"]]
        for key in ("steps", "invariants", "checks", "failures", "undecided", "notes"):
            assert swept[key] == alone[key], key


@pytest.mark.parametrize("form", ["json", "csv"])
def test_processes_give_the_bytes_of_one(form: str, folder: Path, capsys: Capsys) -> None:
    words = ["sweep", "shop.yaml", "--over", "seed=0..4", "--over", "steps[0].link.loss=0,0.3", "-o", form]
    found = []
    for jobs in ("1", "2"):
        status = main([*words, "-j", jobs, "-d", "out"])
        found.append((status, capsys.readouterr().out, files_in(folder / "out")))
    assert found[0] == found[1] and len(found[0][2]) == 10 * 4


@pytest.mark.slow
def test_a_dask_cluster_gives_the_bytes_of_one_process(scheduler: str, folder: Path, capsys: Capsys) -> None:
    words = ["sweep", "shop.yaml", "--over", "seed=0..4", "--over", "steps[0].link.loss=0,0.3", "-o", "json", "-d", "out"]  # fmt: skip
    found = []
    for how in (["-j", "1"], ["--dask", scheduler]):
        status = main([*words, *how])
        found.append((status, capsys.readouterr().out, files_in(folder / "out")))
    assert found[0] == found[1] and len(found[0][2]) == 10 * 4


@pytest.mark.slow
@pytest.mark.parametrize("name", gallery.stories())
def test_the_gallery_s_captures_are_those_of_a_run(name: str, scheduler: str, tmp_path: Path) -> None:
    """Of a run in this process, of forks of one build in two processes, and of workers of Dask."""
    ways = [(2, ""), (0, scheduler)] if name in OVER_DASK else [(2, "")]
    path = gallery.stories()[name]
    run(path, tmp_path / "run")
    alone = files_in(tmp_path / "run" / name)
    for number, (jobs, dask) in enumerate(ways):
        swept = sweep(path, ["metadata.description=a,b"], folder=tmp_path / str(number), jobs=jobs, dask=dask)
        assert len(swept.runs) == 2 and alone
        for each in swept.folders:
            assert files_in(Path(each)) == alone


def test_a_scenario_comes_from_standard_input(folder: Path) -> None:
    words = [sys.executable, "-m", "emu", "sweep", "-", "--over", "seed=1,2", "-j", "2"]
    done = subprocess.run(words, input=SHOP, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.stdout.splitlines()[-1] == "shop: 2 runs, 2 held" and done.stderr == ""


# -- how it is shown ----------------------------------------------------------------------------------------


def test_the_text_of_a_sweep(folder: Path, capsys: Capsys) -> None:
    words = ["--over", "steps.ask.tcp.to=svc/web:80,svc/no:80", "--over", "steps[0].link.loss=0,1"]
    assert main(["sweep", "shop.yaml", *words]) == 2
    assert capsys.readouterr().out == dedent("""\
        steps.ask.tcp.to   steps[0].link.loss   RESULT   2
        svc/web:80         0                    held     delivered
        svc/web:80         1                    failed   FAILED: rejected (host-unreachable)
        svc/no:80          0                    error    -
        svc/no:80          1                    error    -

        step 2: ask

        FAILED steps.ask.tcp.to=svc/web:80, steps[0].link.loss=1: step 2, ask (default/client -> svc/web:80): outcome is rejected, expected delivered (host-unreachable, at underlay/port2, 192.168.52.12 dev port2 INCOMPLETE)
        FAILED steps.ask.tcp.to=svc/web:80, steps[0].link.loss=1: step 2, ask (default/client -> svc/web:80): at is "", expected default/web
        FAILED steps.ask.tcp.to=svc/web:80, steps[0].link.loss=1: step 2, ask (default/client -> svc/web:80): frames is 52, expected 120
        error steps.ask.tcp.to=svc/no:80, steps[0].link.loss=0: shop.yaml:11: steps[1].tcp.to: no Service is called 'no' (expected web)
        error steps.ask.tcp.to=svc/no:80, steps[0].link.loss=1: shop.yaml:11: steps[1].tcp.to: no Service is called 'no' (expected web)

        shop: 4 runs, 1 held, 1 failed, 2 error
        """)


def test_the_csv_of_a_sweep(folder: Path, capsys: Capsys) -> None:
    Path("shop.yaml").write_text(SHOP.replace(", frames: 120", ""))
    assert main(["sweep", "shop.yaml", "--over", "cluster.network=bridge,flannel", "-o", "csv", "-d", "out"]) == 0
    assert capsys.readouterr().out == dedent("""\
        cluster.network,result,exit status,checks,failures,folder,step 2 outcome,step 2 frames,step 2 ns
        bridge,held,0,2,,out/shop/network-bridge,delivered,120,6094000
        flannel,held,0,2,,out/shop/network-flannel,delivered,142,6104000
        """)


@pytest.mark.parametrize(
    ("over", "change", "status", "results"),
    [
        ("seed=1,2", {}, 0, ["held", "held"]),
        ("seed=1,2", {", frames: 120": ", frames: 3"}, 1, ["failed", "failed"]),
        ("steps[0].link.loss=1,0", {}, 1, ["failed", "held"]),
        ("steps[1].tcp.to=svc/web:80,svc/no:80", {}, 2, ["held", "error"]),
        ("cluster.nodes=2,1", {}, 2, ["held", "error"]),
        ("steps[1].expect.outcome=delivered,timeout", {}, 1, ["held", "failed"]),
    ],
)  # fmt: skip
def test_exit_status(
    over: str, change: dict[str, str], status: int, results: list[str], folder: Path, capsys: Capsys
) -> None:
    text = SHOP
    for before, after in change.items():
        text = text.replace(before, after)
    Path("shop.yaml").write_text(text)
    assert main(["sweep", "shop.yaml", "--over", over, "-o", "json"]) == status
    data = json.loads(capsys.readouterr().out)
    assert [each["result"] for each in data["runs"]] == results and data["exitStatus"] == status


@pytest.mark.usefixtures("unknown_dataplane")
def test_what_is_not_modelled_is_undecided(folder: Path, capsys: Capsys) -> None:
    deny = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n"
    Path("more.yaml").write_text(PODS + deny)
    Path("shop.yaml").write_text(SHOP.replace(", frames: 120", ""))
    words = ["--over", "cluster.network=kindnet", "--over", "manifests[0]=pods.yaml,more.yaml"]
    assert main(["sweep", "shop.yaml", *words]) == 3
    printed = capsys.readouterr()
    assert "1 held, 1 undecided" in printed.out and "undecided cluster.network=" in printed.out
    assert "(in 1 of 2 runs)" in printed.err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["shop.yaml"], "nothing is swept over (expected --over KEY=VALUE,VALUE)"),
        (["--over", "seed=1"], "no scenario (expected one scenario, by place or as -f FILE)"),
        (["pods.yaml", "--over", "seed=1"], "pods.yaml:1: the first document is no scenario (expected apiVersion: emu/v1, kind: Scenario)"),
        (["shop.yaml", "--over", "cluster.nodez=2"], 'shop.yaml:5: cluster.nodez: unknown key "nodez" (--over cluster.nodez=2) (expected "nodes"?)'),
        (["shop.yaml", "--over", "seeds=2"], 'shop.yaml:1: seeds: unknown key "seeds" (--over seeds=2) (expected "seed"?)'),
        (["shop.yaml", "--over", "seed=0,x"], 'shop.yaml:4: seed: "x" is not a whole number (--over seed=x)'),
        (["shop.yaml", "--over", "seed=0..3", "--over", "cluster.nodes=2,0"], "shop.yaml:5: cluster.nodes: 0 is out of range (--over seed=0, cluster.nodes=0) (expected a whole number >= 1)"),
        (["shop.yaml", "--over", "cluster.network=bridge,x.conflist"], 'shop.yaml:5: cluster.network: there is no file "x.conflist" (--over cluster.network=x.conflist)'),
        (["shop.yaml", "--over", "manifests[0]=pods.yaml,pod.yaml"], 'shop.yaml:6: manifests[0]: there is no file "pod.yaml" (--over manifests[0]=pod.yaml) (expected "pods.yaml"?)'),
        (["shop.yaml", "--over", "steps.aks.tcp.to=x"], 'shop.yaml:7: steps: no entry is called "aks" (expected "ask"?)'),
    ],
)  # fmt: skip
def test_what_is_refused_before_anything_runs(words: list[str], error: str, folder: Path, capsys: Capsys) -> None:
    assert main(["sweep", *words, "-d", "out"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and re.sub(r"^error: |\n$", "", printed.err) == error
    assert not Path("out").exists()


def test_files_that_emu_did_not_write_stay(folder: Path, capsys: Capsys) -> None:
    there = Path("out/shop/seed-1/all.pcapng")
    there.parent.mkdir(parents=True)
    there.write_text("mine")
    assert main(["sweep", "shop.yaml", "--over", "seed=1", "-d", "out"]) == 2
    assert "emu did not write it" in capsys.readouterr().err and there.read_text() == "mine"
    assert main(["sweep", "shop.yaml", "--over", "seed=1", "-d", "out", "--force"]) == 0
