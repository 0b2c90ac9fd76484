"""What a written file does to what was there: regular files are replaced whole, everything else is written to."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from emu.capture import pcap, pcapng
from emu.capture.atomic import beginning, descriptor, whole_file
from emu.errors import InputError

ROOT = Path(__file__).parents[2]


def write(path: Path | str, data: bytes = b"new") -> None:
    with whole_file(path, lambda there: True) as file:
        file.write(data)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_fifo_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with pcapng.create(pipe) as writer:
        writer.interface("eth0")
    reader.join(60)
    assert read[0][:4] == b"\x0a\x0d\x0d\x0a"
    assert stat.S_ISFIFO(pipe.stat().st_mode), "not replaced by a regular file"
    assert names(tmp_path) == ["pipe"]


@pytest.mark.parametrize(("minor", "fails"), [(3, ""), (7, "No space left on device")])
def test_a_device_is_written_to(minor: int, fails: str, tmp_path: Path) -> None:
    device = tmp_path / "device"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        device.open("wb").close()
    except PermissionError:
        pytest.skip("no device nodes can be made and opened here")
    if fails:
        with pytest.raises(InputError, match=fails):
            write(device)
    else:
        write(device)
    assert stat.S_ISCHR(device.stat().st_mode)
    assert names(tmp_path) == ["device"]


def test_a_socket_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as there:
        there.bind("socket")
        with pytest.raises(InputError, match="cannot be written"):
            write(tmp_path / "socket")
        assert stat.S_ISSOCK((tmp_path / "socket").stat().st_mode)


def test_descriptors_by_their_names(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        for name in (f"/dev/fd/{file.fileno()}", f"/proc/self/fd/{file.fileno()}"):
            assert descriptor(name) == file.fileno()
            write(name, b"part ")
        link = tmp_path / "link"
        link.symlink_to("/dev/stdout")
        assert descriptor(link) == descriptor("/dev/stdout") == descriptor("-") == 1
    assert (tmp_path / "out").read_bytes() == b"part part ", "at the descriptor's own place, not from the beginning"
    assert descriptor(tmp_path / "out") is None


def test_mode_and_owner_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    owner = (12345, 54321) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(path, *owner)
    write(path)
    there = path.stat()
    assert (stat.S_IMODE(there.st_mode), there.st_uid, there.st_gid) == (0o640, *owner)
    assert path.read_bytes() == b"new"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"old")
    for name in ("there", "nowhere"):
        (tmp_path / f"link-{name}").symlink_to(name)
        write(tmp_path / f"link-{name}")
        assert (tmp_path / f"link-{name}").is_symlink()
        assert (tmp_path / name).read_bytes() == b"new"


@pytest.mark.parametrize(
    ("there", "replaced"),
    [
        (b"", True),
        (b"a text", False),
        (b"\x0a\x0d\x0d\x0a", False),
        (bytes(100), False),
        (b"\x0a\x0d\x0d\x0a\xff\xff\xff\x7f\x4d\x3c\x2b\x1a" + b"\xff" * 40, False),
    ],
)
def test_a_file_of_another_owner_is_not_replaced(there: bytes, replaced: bool, tmp_path: Path) -> None:
    path = tmp_path / "file.pcapng"
    path.write_bytes(there)
    for create in (pcapng.create, pcap.create):
        path.write_bytes(there)
        if replaced:
            with create(path):
                pass
            continue
        with pytest.raises(InputError, match=r"emu did not write it .*--force"), create(path):
            pass
        assert path.read_bytes() == there
        with create(path, force=True):
            pass
        assert path.read_bytes() != there
    assert names(tmp_path) == ["file.pcapng"]


def test_our_own_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file.pcapng"
    for _ in range(2):
        with pcapng.create(path) as writer:
            writer.interface("eth0")
    assert pcapng.is_own(path)
    changed = path.read_bytes().replace(pcapng.APPLICATION.encode(), b"Wireshark"[: len(pcapng.APPLICATION)])
    path.write_bytes(changed)
    assert not pcapng.is_own(path)


@pytest.mark.parametrize("name", ["a" * 250, "é" * 120])
def test_long_names(name: str, tmp_path: Path) -> None:
    write(tmp_path / name)
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"])
def test_names_that_cannot_be(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / name)


KILLED = """
import os, sys
from pathlib import Path
from emu.capture.atomic import beginning
with beginning(Path(sys.argv[1]), folder=sys.argv[2] == "folder") as (part, held):
    if sys.argv[2] == "folder":
        (part / "half.pcapng").write_bytes(b"half")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_a_killed_process_left_is_removed_by_the_next(what: str, tmp_path: Path) -> None:
    goal = tmp_path / "goal"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(goal), what],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    with beginning(tmp_path / "other"):
        assert len(names(tmp_path)) == 2, "another goal's is left alone"
    with beginning(tmp_path / "goal.2"):
        pass
    write(goal)
    assert names(tmp_path) == ["goal"]


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    goal = tmp_path / "goal"
    living = tmp_path / ".goal.1.part"
    living.write_bytes(b"half")
    import fcntl

    with living.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write(goal)
        assert names(tmp_path) == [".goal.1.part", "goal"]
    write(goal)
    assert names(tmp_path) == ["goal"]
