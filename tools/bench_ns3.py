"""The bench's echo in ns-3, where its headers and a C++ compiler are there (Debian: libns3-dev, g++)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("bench_ns3.cc")
HEADERS = Path("/usr/include/ns3")
LIBRARIES = [f"-lns3-{name}" for name in ("core", "network", "internet", "csma", "bridge", "traffic-control")]


def build(folder: Path) -> Path | None:
    """The program, compiled into a folder as a release is; None without ns-3 or a compiler."""
    compiler = shutil.which("g++")
    if compiler is None or not HEADERS.is_dir():
        return None
    program = folder / "bench_ns3"
    done = subprocess.run(
        [compiler, "-std=c++17", "-O2", "-o", program, SOURCE, *LIBRARIES], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"ns-3 is left out: {done.stderr.strip().splitlines()[0]}")
        return None
    return program


def echoes(program: Path, count: int, captures: Path | None = None) -> tuple[float, int]:
    """CPU seconds an echo, and the frames captured for each; `captures` is the beginning of its pcap files' names."""
    command = [str(program), str(count), *([str(captures)] if captures is not None else [])]
    took_us, frames = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(took_us) / 1e6, int(float(frames))
