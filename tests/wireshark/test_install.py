"""`emu wireshark`: the folders of each system, what is written and what is kept, and the files in the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from emu.capture import pcapng
from emu.cli import main
from emu.wireshark.folders import Folders, folders, how_to_get_it, programs
from emu.wireshark.install import SETTINGS, is_own, plan, shipped, write
from emu.wireshark.macs import macs_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("system", "environment", "configuration", "plugins"),
    [
        ("linux", {}, "{home}/.config/wireshark", "{home}/.local/lib/wireshark/plugins"),
        ("linux", {"XDG_CONFIG_HOME": "/x"}, "/x/wireshark", "{home}/.local/lib/wireshark/plugins"),
        ("linux", {"XDG_CONFIG_HOME": "x"}, "{home}/.config/wireshark", "{home}/.local/lib/wireshark/plugins"),
        ("linux", {"WIRESHARK_CONFIG_DIR": "/w"}, "/w", "{home}/.local/lib/wireshark/plugins"),
        ("darwin", {}, "{home}/.config/wireshark", "{home}/.local/lib/wireshark/plugins"),
        ("freebsd14", {}, "{home}/.config/wireshark", "{home}/.local/lib/wireshark/plugins"),
        ("win32", {"APPDATA": "/r"}, "/r/Wireshark", "/r/Wireshark/plugins"),
        ("win32", {}, "{home}/AppData/Roaming/Wireshark", "{home}/AppData/Roaming/Wireshark/plugins"),
    ],
)
def test_where_wireshark_looks(
    system: str, environment: Mapping[str, str], configuration: str, plugins: str, tmp_path: Path
) -> None:
    found = folders(system, environment, tmp_path)
    assert str(found.configuration) == configuration.format(home=tmp_path)
    assert str(found.plugins) == plugins.format(home=tmp_path)
    assert found.profile == found.configuration / "profiles" / "emu"


def test_the_old_folder_counts_where_there_is_no_new_one(tmp_path: Path) -> None:
    (tmp_path / ".wireshark").mkdir()
    assert folders("linux", {}, tmp_path).configuration == tmp_path / ".wireshark"
    (tmp_path / ".config" / "wireshark").mkdir(parents=True)
    assert folders("linux", {}, tmp_path).configuration == tmp_path / ".config" / "wireshark"


def test_wiresharks_own_word_for_its_folders(tmp_path: Path, tshark: object) -> None:
    """The same as `tshark -G folders` reports on this machine."""
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("XDG_CONFIG_HOME", None)
    (tmp_path / ".config" / "wireshark").mkdir(parents=True)
    shown = subprocess.run(
        ["tshark", "-G", "folders"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    lines = dict(line.split(":", 1) for line in shown.splitlines() if ":" in line)
    mine = folders(sys.platform, environment, tmp_path)
    assert lines["Personal configuration"].strip() == str(mine.configuration)
    assert lines["Personal Lua Plugins"].strip() == str(mine.plugins)


@pytest.mark.parametrize(
    ("system", "environment", "last"),
    [
        ("linux", {}, "wireshark"),
        ("darwin", {}, "/Applications/Wireshark.app/Contents/MacOS/Wireshark"),
        ("win32", {"ProgramFiles": "/p"}, "/p/Wireshark/Wireshark.exe"),
    ],
)
def test_where_the_program_may_be(system: str, environment: Mapping[str, str], last: str) -> None:
    found = list(programs(system, environment))
    assert found[0] == "wireshark" and found[-1] == last
    assert "ireshark" in how_to_get_it(system)


def test_each_file_names_its_owner() -> None:
    assert all(is_own(shipped(name)) for name in (*SETTINGS, "emu.lua"))
    assert is_own(b"") and not is_own(b"# Configuration file for Wireshark 4.0.17.\n")


def test_what_was_changed_is_kept_unless_forced(tmp_path: Path) -> None:
    places = Folders(tmp_path / "c", tmp_path / "p")
    write(plan(places, {}))
    assert {each.word for each in plan(places, {})} == {"there"}
    changed = places.profile / "preferences"
    changed.write_text("# Configuration file for Wireshark 4.0.17.\n")
    older = places.plugins / "emu.lua"
    older.write_text("-- emu's comments, an older script\n")
    words = {each.path.name: each.word for each in plan(places, {})}
    assert words["preferences"] == "kept" and words["emu.lua"] == "written"
    write(plan(places, {}))
    assert changed.read_text().startswith("# Configuration") and older.read_bytes() == shipped("emu.lua")
    write(plan(places, {}, force=True))
    assert changed.read_bytes() == shipped("preferences")


def test_ethers_of_others_are_kept_even_when_forced(tmp_path: Path) -> None:
    places = Folders(tmp_path / "c", tmp_path / "p")
    mac = bytes.fromhex("66225b83e6b2")
    write(plan(places, {mac: "default/client/eth0"}))
    own = places.configuration / "ethers"
    assert own.read_text().splitlines()[1:] == ["66:22:5b:83:e6:b2 default/client/eth0"]
    write(plan(places, {mac: "default/other/eth0"}))
    assert "default/other/eth0" in own.read_text()
    own.write_text("66:22:5b:83:e6:b2 mine\n")
    write(plan(places, {mac: "default/client/eth0"}, force=True))
    assert own.read_text() == "66:22:5b:83:e6:b2 mine\n"


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "some capture.pcapng"
    one, two, three = (bytes.fromhex(f"0200000000{number:02x}") for number in (1, 2, 3))
    with pcapng.create(path) as writer:
        writer.interface("default/client/eth0", "veth of default/client", one)
        writer.interface("node-1/cbr0", "bridge of node-1", two)
        writer.interface("node-1/veth1", "veth, a port of node-1's bridge cbr0", two)
        writer.interface("node-1/cali1", "veth of node-1", three)
        writer.interface("node-1/cali2", "veth of node-1", three)
        writer.interface("node-1/drop")
        writer.packet(0, 0, bytes(60), 0, "nothing")
    return path


def test_a_mac_of_several_interfaces_has_no_name_but_a_bridges(capture: Path) -> None:
    assert macs_of([capture]) == {
        bytes.fromhex("020000000001"): "default/client/eth0",
        bytes.fromhex("020000000002"): "node-1/cbr0",
    }


def test_wireshark_shows_the_names_of_ethers(capture: Path, tmp_path: Path, tshark: object) -> None:
    home = tmp_path / "home"
    places = folders("linux", {}, home)
    write(plan(places, {bytes(6): "default/client/eth0"}))
    shown = subprocess.run(
        ["tshark", "-C", "emu", "-r", str(capture), "-T", "fields", "-e", "eth.src_resolved"],
        env={"PATH": os.environ["PATH"], "HOME": str(home)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout == "default/client/eth0\n"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["wireshark", *words])
    return status, *capsys.readouterr()


def test_the_command_writes_and_repeats(tmp_path: Path, capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "elsewhere"
    status, out, err = run(capsys, "install", "--folder", str(folder), "--dry-run")
    assert status == 0 and out.count("would be written") == 6 and not folder.exists()
    status, out, err = run(capsys, "install", str(capture), "--folder", str(folder))
    assert status == 0 and out.count("written ") == 7 and f"WIRESHARK_CONFIG_DIR={folder}" in err
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == sorted([*SETTINGS, "emu.lua", "ethers"])
    (folder / "profiles" / "emu" / "recent").write_text("# Wireshark's\n")
    status, out, err = run(capsys, "install", "--folder", str(folder))
    assert status == 0 and "kept " in out and "is not as emu wrote it" in err


def test_open_starts_wireshark_with_the_profile(
    tmp_path: Path, capture: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "wireshark"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    status, out, _ = run(capsys, "open", str(capture), "-Y", "emu.step", "--dry-run")
    assert (status, out.splitlines()[-1]) == (0, f"{program} -C emu -Y emu.step '{capture}'")
    assert not (tmp_path / "home").exists()
    started: list[list[str]] = []
    monkeypatch.setattr("subprocess.Popen", lambda command, **_: started.append(command))
    status, out, _ = run(capsys, "open", str(capture))
    assert (status, started) == (0, [[str(program), "-C", "emu", str(capture)]])
    assert (tmp_path / "home" / ".config" / "wireshark" / "profiles" / "emu" / "recent").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["install"], "there is no Wireshark here"),
        (["open", "{capture}"], "Wireshark is not on this machine"),
        (["open", "{capture}", "--folder", "{folder}"], "Wireshark is not on this machine"),
        (["open", "absent.pcapng", "--folder", "{folder}"], "absent.pcapng"),
        ([], "Missing command"),
    ],
)
def test_what_is_missing_is_stated(
    words: list[str], message: str, tmp_path: Path, capture: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    status, _, err = run(capsys, *(word.format(capture=capture, folder=tmp_path / "f") for word in words))
    assert status == 2 and message in err and err.startswith("error: ")
    assert not (tmp_path / "f").exists()


@pytest.mark.slow
def test_the_wheel_has_the_profile_and_the_index(tmp_path: Path) -> None:
    source = tmp_path / "source"
    copytree(ROOT / "emu", source / "emu", ignore=ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = "from setuptools import build_meta; import sys; print(build_meta.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"emu/wireshark/profile/{name}" for name in (*SETTINGS, "emu.lua", "README.md")} <= names
    assert "emu/scenario/gallery/captures.md" in names
