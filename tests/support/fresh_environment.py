"""An environment of its own with emu installed from this tree, without the network: what it depends on is that of the running one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("emu", "pyproject.toml", "README.md", "LICENSE")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")


def make(folder: Path) -> Path:
    """Build the package from a copy of the sources, install it into a new environment, and give that one's Python."""
    source, home = folder / "source", folder / "environment"
    source.mkdir(parents=True)
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=LEFT_OUT)
        else:
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "venv", "--without-pip", str(home))
    python = home / "bin" / "python"
    own = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # a line of a .pth file comes behind the environment's own packages, and its .pth files are not read: no emu comes with it
    (own / "behind.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    pip = "-m", "pip", "--disable-pip-version-check", "install", "--no-index", "--no-deps", "--no-build-isolation"
    run(str(python), *pip, "--quiet", str(source))
    return python


def run(*words: str, cwd: Path | None = None, status: int = 0) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout
