"""A run's folder: what is in it afterwards, and what stays of what was in it before."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.errors import InputError
from emu.scenario import files
from emu.scenario.files import ALL, LIST
from emu.scenario.run import run
from emu.scenario.script import Scenario, load_text
from small import PODS


def scenario(*names: str) -> Scenario:
    steps = "".join(f"- {{name: {name}, ping: {{from: default/client, to: default/web}}}}\n" for name in names)
    head = "apiVersion: emu/v1\nkind: Scenario\nmetadata: {name: data}\ncluster: {nodes: 1}\nsteps:\n"
    return load_text(head + steps + PODS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's own captures in a folder that has the scenario's name."""
    path = tmp_path / "data"
    path.mkdir()
    for name in ("server-side.pcap", "10-monday.pcapng", "notes.txt", ".hidden"):
        (path / name).write_text(name)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in folder.iterdir()}


def users(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if data == name.encode()}


def test_a_users_files_stay(folder: Path) -> None:
    before = users(folder)
    run(scenario("one", "two"), folder.parent)
    run(scenario("one", "two"), folder.parent, split="interface")
    run(scenario("one"), folder.parent)
    assert users(folder) == before
    assert set(contents(folder)) - set(before) == {LIST, ALL, "01-one.pcapng", "01-one.client.pcapng"}


def test_what_an_earlier_run_wrote_and_a_user_changed_stays(folder: Path) -> None:
    run(scenario("one"), folder.parent, split="interface")
    changed = folder / "node-1.cbr0.pcap"
    changed.write_bytes(b"node-1.cbr0.pcap")
    run(scenario("one"), folder.parent)
    assert changed.read_bytes() == b"node-1.cbr0.pcap"
    with pytest.raises(InputError, match="emu did not write it"):
        run(scenario("one"), folder.parent, split="interface")


@pytest.mark.parametrize("kind", ["a folder", "a file", "a link"])
@pytest.mark.parametrize("split", ["flow", "interface"])
def test_one_thing_in_the_way_and_nothing_is_new(kind: str, split: files.Split, folder: Path) -> None:
    run(scenario("one", "two"), folder.parent, split=split)
    written = (folder / LIST).read_text().splitlines()[-1].split("  ")[1]
    (folder / written).unlink()
    if kind == "a folder":
        (folder / written).mkdir()
    elif kind == "a file":
        (folder / written).write_text("mine")
    else:
        (folder / written).symlink_to("notes.txt")
    before = contents(folder)
    with pytest.raises(InputError, match=written):
        run(scenario("new"), folder.parent, split=split)
    assert contents(folder) == before
    if kind != "a folder":
        run(scenario("new"), folder.parent, split=split, force=True)
        assert (folder / written).is_file()
        assert not (folder / written).is_symlink()
    assert users(folder) == {name: name.encode() for name in users(folder)}
    assert len(users(folder)) == 4
    assert [path for path in folder.parent.iterdir() if path != folder] == []


def test_a_link_for_a_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "out"
    elsewhere.mkdir()
    (elsewhere / "data").symlink_to(folder)
    before = contents(folder)
    with pytest.raises(InputError, match="is a symbolic link"):
        run(scenario("one"), elsewhere)
    assert contents(folder) == before


@pytest.mark.parametrize("at", range(8))
def test_an_error_while_the_files_are_put_in_place_is_undone(
    at: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(scenario("one", "two"), folder.parent)
    before = contents(folder)
    real, left = Path.replace, at

    def fail(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left == -1:
            raise OSError(5, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    # the first name is new, others are there, and three are stale
    with pytest.raises(InputError, match="Input/output error"):
        run(scenario("zero"), folder.parent)
    monkeypatch.undo()
    assert contents(folder) == before
    assert [path for path in folder.parent.iterdir() if path != folder] == []


def test_a_half_list_is_no_list(folder: Path) -> None:
    (folder / LIST).write_bytes(b"\xff\xfe  10-monday.pcapng\n")
    run(scenario("one"), folder.parent)
    assert len(users(folder)) == 4


def test_names_of_other_folders_in_a_list_are_nothing(folder: Path) -> None:
    (folder.parent / "outside").write_bytes(b"outside")
    (folder / LIST).write_text("emu  ../outside\n-  10-monday.pcapng\nemu  notes.txt\n")
    run(scenario("one"), folder.parent)
    assert (folder.parent / "outside").read_bytes() == b"outside"
    assert len(users(folder)) == 4
