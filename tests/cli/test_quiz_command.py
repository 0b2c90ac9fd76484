"""`emu quiz`: asks, checks, counts, and ends with a status that a classroom's script can use."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from emu.cli import main


def quiz(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["quiz", *arguments])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_the_key_answers_all_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, key, _ = quiz(capsys, "no-endpoints", "--key")
    assert status == 0
    answers = tmp_path / "answers"
    answers.write_text(key)
    status, shown, _ = quiz(capsys, "no-endpoints", "--answers", str(answers))
    count = key.count("# ")
    assert status == 0 and shown.endswith(f"{count} of {count} right\n") and "Not so" not in shown


def test_a_wrong_answer_is_status_1_and_is_corrected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = json.loads(quiz(capsys, "closed-port", "--key", "-o", "json")[1])
    lines = [str(each["answer"]) for each in questions]
    lines[2] = str(questions[2]["answer"] % len(questions[2]["choices"]) + 1)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    status, shown, _ = quiz(capsys, "closed-port")
    assert status == 1 and f"{len(lines) - 1} of {len(lines)} right" in shown
    right = questions[2]["choices"][questions[2]["answer"] - 1]
    assert f"Not so: {right}. {questions[2]['why']}" in shown


def test_hops_before_the_hidden_one_are_shown_and_no_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    status, shown, _ = quiz(capsys, "closed-port", "--kind", "answer")
    first = shown.partition("Question 1")[0]
    hop = json.loads(quiz(capsys, "closed-port", "--key", "-o", "json", "--kind", "answer")[1])[0]["hop"]
    assert status == 1 and f"1/{hop - 1} " in first and f"1/{hop} " not in first
    assert "without an answer" in shown


def test_results_as_data(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("1\nneither\nsomething else\n99\n"))
    status, shown, errors = quiz(capsys, "no-endpoints", "-o", "json", "--seed", "3")
    data = json.loads(shown)
    assert (
        status == 1
        and data["of"] == len(data["questions"])
        and data["right"] == sum(q["right"] for q in data["questions"])
    )
    assert [q["given"] for q in data["questions"][:5]] == ["1", "neither", "something else", "99", None]
    assert data["questions"][1]["chosen"] == "neither"
    assert "'something else' is none of the choices" in errors and "'99' is none" in errors


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["no-such-story"], "no scenario of the gallery is called"),
        (["absent.yaml"], "absent.yaml"),
        (["closed-port", "--kind", "colour"], "no kind of question is called 'colour'"),
        (["closed-port", "--answers", "/nowhere/at/all"], "/nowhere/at/all: No such file"),
        (["closed-port", "--kind", "endpoint", "--kind", "colour"], "colour"),
    ],
)
def test_bad_input_is_status_2(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, shown, errors = quiz(capsys, *arguments)
    assert status == 2 and shown == "" and expected in errors


def test_nothing_to_ask_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "s.yaml"
    script.write_text("apiVersion: emu/v1\nkind: Scenario\nmetadata: {name: s}\nsteps:\n- wait: 1s\n")
    status, _, errors = quiz(capsys, str(script))
    assert status == 2 and "there is nothing to ask about this run" in errors
