"""A folder with a kustomization: what only lists files is read, everything else is named, with the command that builds it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.cli import main

Capsys = pytest.CaptureFixture[str]
HEAD = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec: {containers: [{name: c}]}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("base", "app", "app/more"):
        Path(name).mkdir()
    Path("base/db.yaml").write_text(POD.replace("NAME", "db"))
    Path("base/kustomization.yaml").write_text("resources: [db.yaml]\n")
    Path("app/web.yaml").write_text(POD.replace("NAME", "web"))
    Path("app/other.yaml").write_text(POD.replace("NAME", "other"))
    Path("app/more/extra.yml").write_text(POD.replace("NAME", "extra"))
    return tmp_path


def pods(capsys: Capsys) -> list[str]:
    return sorted(each["name"] for each in json.loads(capsys.readouterr().out)["pods"])


def test_what_it_lists_is_read_and_nothing_else(capsys: Capsys) -> None:
    Path("app/kustomization.yaml").write_text(f"{HEAD}resources:\n- web.yaml\n- ../base\n- more/extra.yml\n")
    assert main(["run", "app", "-o", "json"]) == 0
    assert pods(capsys) == ["db", "extra", "web"]
    assert main(["show", "routes", "node-1", "-f", "app"]) == 0


def test_what_changes_no_packet_is_noted(capsys: Capsys) -> None:
    Path("app/kustomization.yml").write_text(f"{HEAD}resources: [web.yaml]\nimages: [{{name: web, newTag: '2'}}]\n")
    what = "app/kustomization.yml:4: kustomization: images: not applied, as no packet depends on it"
    assert main(["run", "-f", "app", "-o", "json"]) == 0
    shown = capsys.readouterr()
    assert f"note: {what}\n" in shown.err and [each["name"] for each in json.loads(shown.out)["pods"]] == ["web"]
    for words in (["show", "routes", "node-1"], ["get", "pods"]):
        assert main([*words, "-f", "app"]) == 0
        assert f"note: {what}\n" in capsys.readouterr().err
    assert main(["lint", "app"]) == 0
    assert "[kustomization]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (f"{HEAD}resources: [web.yaml]\nnamespace: shop\n", 4, "namespace: this is a kustomization with namespace, which kubectl applies"),
        (f"{HEAD}resources: [web.yaml]\npatches: []\n", 4, "this is a kustomization with patches"),
        (f"{HEAD}resources:\n- web.yaml\n- https://example.com/x\n", 5, "that lists https://example.com/x, which is no file or folder here"),
        (f"{HEAD}resources: [.]\n", 2, "this is a kustomization that lists itself"),
        (HEAD.replace("Kustomization", "Component"), 2, "this is a kustomization of kind Component"),
    ],
)  # fmt: skip
def test_what_has_to_be_built(text: str, line: int, what: str, capsys: Capsys) -> None:
    Path("app/kustomization.yaml").write_text(text)
    assert main(["run", "app"]) == 2
    error = capsys.readouterr().err
    assert what in error and "kubectl kustomize app | emu run -f -" in error
    if "itself" not in what:
        assert f"app/kustomization.yaml:{line}:" in error


def test_a_kustomization_named_as_a_file(capsys: Capsys) -> None:
    Path("app/kustomization.yaml").write_text(f"{HEAD}resources: [web.yaml]\n")
    assert main(["run", "app/kustomization.yaml"]) == 2
    assert "emu reads the folder of one that only lists files" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "resources: web.yaml\n", "a: 1\n---\nb: 2\n"])
def test_what_is_none(text: str, capsys: Capsys) -> None:
    Path("app/kustomization.yaml").write_text(text)
    assert main(["run", "app"]) == 2
    assert capsys.readouterr().err.startswith("error: app/kustomization.yaml")
