"""`--only STEP`: which steps are run beside the named ones, what is checked then, and which words name no step. `--seed`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.cli import main
from emu.errors import InputError
from emu.scenario.only import chosen
from emu.scenario.script import load_text, seeded

Capsys = pytest.CaptureFixture[str]
TEXT = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: s}
seed: 3
steps:
- name: chat
  tcp: {from: default/web, to: "default/db:80", close: false}
  expect: {outcome: delivered}
- {name: gone, delete: pod/x}
- {name: more, more: {of: chat, send: hi}}
- {ping: {from: default/web, to: default/db}, expect: {outcome: timeout}}
- {wait: 1s}
- {name: last ping, ping: {from: default/web, to: "svc/db"}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: c}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: c}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, labels: {app: db}}, spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: db}, spec: {selector: {app: db}, ports: [{port: 80}]}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(TEXT)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (["1"], {1}),
        (["chat"], {1}),
        (["more"], {1, 2, 3}),  # its connection is that of chat; the pod is gone before it
        (["4"], {2, 4}),
        (["ping"], {2, 4, 5, 6}),
        (["last*"], {2, 5, 6}),
        (["1", "last ping"], {1, 2, 5, 6}),
        (["gone"], {2}),
    ],
)
def test_which_steps(words: list[str], steps: set[int]) -> None:
    assert {each + 1 for each in chosen(load_text(TEXT), words)} == steps


@pytest.mark.parametrize(
    ("word", "expected"),
    [("chta", '"chat"?'), ("9", "a number from 1 to 6, or a step's name"), ("0", "a number from 1 to 6")],
)
def test_no_such_step(word: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        chosen(load_text(TEXT), [word])
    assert expected in str(caught.value) and f'no step is called "{word}"' in str(caught.value)


@pytest.mark.parametrize(
    ("word", "status", "checked"), [("chat", 0, True), ("4", 1, True), ("last ping", 0, False), ("gone", 0, False)]
)
def test_what_is_not_run_is_not_checked(word: str, status: int, checked: bool, capsys: Capsys) -> None:
    """A step without an expectation is no failure, though the scenario has some."""
    assert main(["run", "s.yaml", "--only", word, "-o", "json"]) == status
    data = json.loads(capsys.readouterr().out)
    assert (
        data["exitStatus"] == status and bool(data["checks"]) is checked and (data["nothingChecked"] == "") is checked
    )


def test_expected_flows_that_never_were_are_a_failure(capsys: Capsys) -> None:
    text = TEXT.partition("steps:")[0] + (
        "steps:\n- traffic: {flows: 3, arrivals: [], mix: [{ping: {from: default/web, to: svc/db}, expect: {outcome: delivered}}]}\n---\n"
        + TEXT.partition("---\n")[2]
    )
    Path("s.yaml").write_text(text)
    status = main(["run", "s.yaml", "-o", "json"])
    if status == 2:
        pytest.skip("traffic without arrivals is refused")
    assert status == 1 and "what is expected" in json.loads(capsys.readouterr().out)["nothingChecked"]


def test_a_seed_in_place_of_the_scenarios(capsys: Capsys) -> None:
    names = []
    for words in (["-d", "a"], ["-d", "b", "--seed", "3"], ["-d", "c", "--seed", "4"]):
        assert main(["run", "s.yaml", "--only", "chat", *words]) == 0
        names.append(Path(words[1], "s", "all.pcapng").read_bytes())
    assert names[0] == names[1] != names[2]
    scenario = load_text(TEXT)
    assert seeded(scenario, None) is scenario and seeded(scenario, 9).spec.seed == 9
