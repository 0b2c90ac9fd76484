"""Compiled or pure Python: which one is taken, that a wrong mix is the sources, and that the wheel installs without a compiler."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import emu
from attributes import attributes
from emu.compiled import COMPILED, LIST, present
from emu.wire.frame import Frame

ROOT = Path(__file__).parent.parent
SUFFIX = EXTENSION_SUFFIXES[0]
DIST = ROOT / "dist"


def python(program: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHONPATH": str(folder), "EMU_PURE": "", **environment}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("listed", "files", "expected"),
    [
        (None, ["clock"], None),
        (f"{SUFFIX}\nclock\nwire/udp\n", ["clock", "wire/udp"], True),
        (f"{SUFFIX}\nclock\nwire/udp\n", ["clock"], False),
        (".another-python.so\nclock\n", ["clock"], False),
        ("", ["clock"], None),
    ],
)
def test_all_or_none(tmp_path: Path, listed: str | None, files: list[str], expected: bool | None) -> None:
    if listed is not None:
        (tmp_path / LIST).write_text(listed, encoding="utf-8")
    for name in files:
        (tmp_path / f"{name}{SUFFIX}").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}{SUFFIX}").touch()
    assert present(str(tmp_path)) is expected


@pytest.mark.parametrize(
    ("left", "pure", "taken"),
    [("whole", "", "compiled"), ("whole", "1", "source"), ("a module is missing", "", "source")],
)
def test_a_wrong_mix_is_the_sources(tmp_path: Path, left: str, pure: str, taken: str) -> None:
    """The compiled module is no library here: where it is taken, the import fails."""
    (tmp_path / "emu").mkdir()
    for name in ("__init__", "compiled", "version", "errors", "clock"):
        shutil.copy(ROOT / "emu" / f"{name}.py", tmp_path / "emu")
    (tmp_path / "emu" / f"clock{SUFFIX}").write_bytes(b"no library")
    (tmp_path / "emu" / LIST).write_text(f"{SUFFIX}\nclock\n{'trail' if left != 'whole' else ''}\n", encoding="utf-8")
    done = python("import emu.clock; print(emu.clock.__file__, emu.compiled.COMPILED)", tmp_path, EMU_PURE=pure)
    if taken == "compiled":
        assert done.returncode
        assert f"clock{SUFFIX}: file too short" in done.stderr or "ImportError" in done.stderr
    else:
        assert done.stdout.split() == [str(tmp_path / "emu" / "clock.py"), "False"], done.stderr


@pytest.mark.parametrize("pure", ["", "1"])
def test_the_version_states_which_one_runs(pure: str) -> None:
    program = "import sys; from emu.cli import main; sys.argv = ['emu', '--version']; main()"
    words = "pure Python" if pure or not COMPILED else "compiled"
    assert python(program, ROOT, EMU_PURE=pure).stdout == f"emu {emu.__version__} ({words})\n"


def test_each_compiled_module_is_prepared_for_the_compiler() -> None:
    """What the compiler gets is a module with the same lines, whose constants are Final."""
    script = runpy.run_path(str(ROOT / "tools" / "wheels.py"))
    for path in script["compiled"]():
        text = (ROOT / path).read_text(encoding="utf-8")
        sealed = script["sealed"](text)
        compile(sealed, path, "exec")
        assert sealed.count("\n") == text.count("\n"), path
    head = "from __future__ import annotations\n\n"
    for line, made in {
        "ONE = 1": "ONE: _Final = 1",
        "ONE, TWO = range(2)": "ONE: _Final = 0; TWO: _Final = 1",
        "ONE, TWO = range(len(KINDS))": "ONE, TWO = range(len(KINDS))",
        "ONE, TWO = 1, f(2)": "ONE: _Final = 1; TWO: _Final = f(2)",
    }.items():
        assert script["sealed"](head + line).split("\n")[2] == made


def test_what_is_listed_as_left_out_is_there() -> None:
    """Each line of the list has a reason, and leaves something out."""
    script = runpy.run_path(str(ROOT / "tools" / "wheels.py"))
    every = [path.relative_to(ROOT).as_posix() for path in (ROOT / "emu").rglob("*.py")]
    for out, reason in script["LEFT_OUT"].items():
        assert reason
        assert any(path.startswith(out) or path.endswith(f"/{out}") for path in every), out
    chosen = script["compiled"]()
    assert set(chosen) < set(every)
    assert "emu/compiled.py" not in chosen


def test_a_clone_has_every_field_of_a_frame() -> None:
    names = attributes(Frame)
    frame = Frame(bytearray(64))
    for number, name in enumerate(sorted(names)):
        old = getattr(frame, name)
        match old:
            case bool():
                setattr(frame, name, not old)
            case int():
                setattr(frame, name, number + 1000)
            case bytes():
                setattr(frame, name, number.to_bytes(6, "big"))
            case None if name == "plain":
                setattr(frame, name, (1, 2, 16, 3, b"", None))
            case None if name not in ("trail", "vlan"):
                setattr(frame, name, object())
    copy = frame.clone()
    assert {name: getattr(copy, name) for name in names} == {name: getattr(frame, name) for name in names}
    assert copy.buf is not frame.buf


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with emu from the wheels of this tree, made without a compiler: pip chooses the compiled one."""
    if not COMPILED or not list(DIST.glob("*.whl")):
        pytest.skip("no compiled wheel here: tools/test --compiled runs this")
    home = tmp_path_factory.mktemp("installed") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    tools = home / "tools"
    tools.mkdir()
    settings = {"PATH": str(tools)}
    assert shutil.which("cc", path=settings["PATH"]) is None
    made = str(home / "bin" / "python")
    own = subprocess.run(
        [made, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    # the dependencies are those of this environment, behind its own packages
    Path(own, "behind.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    pip = [
        made,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--ignore-installed",
        "--no-index",
        "--no-deps",
        "--find-links",
    ]
    done = subprocess.run([*pip, str(DIST), "kubemu"], env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return home


@pytest.mark.slow
@pytest.mark.parametrize(("pure", "words"), [("", "compiled"), ("1", "pure Python")])
def test_the_wheel_runs_without_a_compiler(installed: Path, tmp_path: Path, pure: str, words: str) -> None:
    settings = {"PATH": str(installed / "tools"), "EMU_PURE": pure}

    def run(*command: str) -> str:
        done = subprocess.run(
            [str(installed / "bin" / "emu"), *command],
            cwd=tmp_path,
            env=settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert run("--version") == f"emu {emu.__version__} ({words})\n"
    run("demo", "pod-to-service", "-d", "captures")
    made = sorted((tmp_path / "captures" / "pod-to-service").glob("*.pcapng"))
    assert made
    for path in made:
        assert path.read_bytes() == (ROOT / "captures" / "pod-to-service" / path.name).read_bytes(), path.name
