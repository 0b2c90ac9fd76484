"""Build emu's wheels: the pure one, and one for this Python whose hot modules are compiled by mypyc from the same source.

`COMPILED` and `LEFT_OUT` are the whole list of what is compiled. `--tree` gives a copy of the project with the compiled modules
beside their sources, kept under build/ by a hash of the sources. Called by tools/wheel and tools/test. Must not import emu.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import sys
import sysconfig
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "compiled"
# Folders and files whose modules are compiled.
COMPILED = ("emu/wire", "emu/clock.py", "emu/trail.py", "emu/capture/tap.py", "emu/kernel")
# What stays interpreted there, and why.
LEFT_OUT: dict[str, str] = {
    "__init__.py": "a package's heading has no code, and a shelf is filled by modules that may be a user's own",
    "emu/kernel/netfilter/ruleset.py": "a rule derives from a class that users of other modes derive from, too",
    "emu/wire/shown.py": "a subclass of int",
    "emu/kernel/netfilter/matches/": "a match is a dataclass that registers itself, and a user may add one",
    "emu/kernel/netfilter/targets/": "as matches",
}
LIBRARY = "emu.native"  # all compiled code is in one library; what lies beside a source only opens it
LIST = "emu/compiled.txt"  # emu/compiled.py reads it
NOT_OURS = {".git", ".venv", ".hypothesis", "__pycache__", "build", "dist", ".whole"}
KEPT = 3  # compiled trees; older ones are removed


def compiled() -> list[str]:
    """The modules to compile, as paths below the project's folder."""
    found: list[str] = []
    for each in COMPILED:
        place = ROOT / each
        files = [place] if place.suffix else sorted(place.rglob("*.py"))
        found += [file.relative_to(ROOT).as_posix() for file in files]
    return [path for path in found if not any(path.startswith(out) or path.endswith("/" + out) for out in LEFT_OUT)]


def fingerprint(opt: str) -> str:
    """Changes with the sources, the compiler's settings, mypy and Python."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "emu").rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(Path(__file__).read_bytes() + (ROOT / "pyproject.toml").read_bytes())
    digest.update(f"{opt} {mypy_version()} {sys.implementation.cache_tag} {sysconfig.get_platform()}".encode())
    return digest.hexdigest()[:16]


def mypy_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    with contextlib.suppress(PackageNotFoundError):
        return version("mypy")
    sys.exit("wheel: mypy is not installed (expected the environment of tools/check)")


def need_compiler() -> None:
    name = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(name) is None:
        sys.exit(f"wheel: no C compiler: {name} is not on the PATH (Debian: apt install gcc; or set CC)")


def files_of(folder: Path) -> set[str]:
    """The project's files in a folder, as git would hand them out, by their paths below it."""
    found: set[str] = set()
    for place, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if each not in NOT_OURS and not each.endswith((".egg-info", "_cache"))]
        below = Path(place).relative_to(folder)
        found.update((below / name).as_posix() for name in names if name not in NOT_OURS)
    return found


def copied(tree: Path) -> None:
    """Bring a copy of the project's files to their present state. What was compiled stays."""
    files = files_of(ROOT)
    for name in files:
        source, target = ROOT / name, tree / name
        if not target.is_file() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for name in files_of(tree) - files:
        if not name.endswith((sysconfig.get_config_var("EXT_SUFFIX"), LIST)):
            (tree / name).unlink()


def built(folder: Path, target: Path, extensions: list[Any], jobs: int) -> None:
    """Run setuptools in a copy of the project; the wheel comes into `target`. C files are compiled `jobs` at a time."""
    from setuptools import setup  # type: ignore[import-untyped]  # it has no types of its own
    from setuptools.command.build_ext import build_ext  # type: ignore[import-untyped]

    class Together(build_ext):  # type: ignore[misc]
        def build_extensions(self) -> None:
            compiler = self.compiler
            one, link = compiler._compile, compiler.link_shared_object
            with ThreadPoolExecutor(jobs) as pool:
                under_way: list[Future[None]] = []

                def linked(*given: Any, **named: Any) -> None:
                    for each in under_way:
                        each.result()
                    under_way.clear()
                    link(*given, **named)

                compiler._compile = lambda *given: under_way.append(pool.submit(one, *given))
                compiler.link_shared_object = linked
                super().build_extensions()

    before = Path.cwd()
    os.chdir(folder)
    try:
        setup(
            ext_modules=extensions,
            cmdclass={"build_ext": Together},
            script_args=["--quiet", "bdist_wheel", "--dist-dir", str(target)],
        )
    finally:
        os.chdir(before)


def compiled_tree(opt: str, jobs: int) -> Path:
    """A copy of the project with compiled modules beside the sources, and its wheel in dist/. Made once for the same sources."""
    tree = BUILD / fingerprint(opt)
    if not (tree / ".whole").exists():
        need_compiler()
        print(f"wheel: compiling {len(compiled())} modules with mypyc (some minutes)", file=sys.stderr)
        copied(tree)
        compile_in(tree, opt, jobs)
        (tree / ".whole").touch()
        keep_newest(tree)
    copied(tree)
    return tree


def compile_in(tree: Path, opt: str, jobs: int) -> None:
    from mypyc.build import mypycify

    os.chdir(tree)
    os.environ["MYPY_CACHE_DIR"] = str(BUILD / "mypy")
    extensions = mypycify(
        ["--config-file", "pyproject.toml", *compiled()],
        opt_level=opt, debug_level="0", multi_file=True, target_dir="build/c", group_name=LIBRARY,
    )  # fmt: skip
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    listed = [LIBRARY.replace(".", "/") + "__mypyc", *(path.removesuffix(".py") for path in compiled())]
    lines = [suffix, *(name.removeprefix("emu/") for name in listed)]
    (tree / LIST).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for each in extensions:
        each.include_dirs.append(f"build/c/{LIBRARY.partition('.')[0]}")  # where the library's own headers are
    built(tree, tree / "dist", extensions, jobs)
    libraries = list((tree / "build").glob("lib.*"))
    assert len(libraries) == 1, libraries
    for each in libraries[0].rglob(f"*{suffix}"):
        shutil.copy2(each, tree / each.relative_to(libraries[0]))


def keep_newest(tree: Path) -> None:
    others = [each for each in BUILD.iterdir() if (each / ".whole").exists() and each != tree]
    for old in sorted(others, key=lambda each: (each / ".whole").stat().st_mtime, reverse=True)[KEPT - 1 :]:
        shutil.rmtree(old)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/wheel", description=__doc__.split("\n")[0])
    parser.add_argument("--tree", action="store_true", help="only the compiled tree; prints its folder")
    parser.add_argument("--opt", default="3", choices=("0", "1", "2", "3"), help="the C compiler's level (3)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="C files at a time (as many as CPUs)")
    given = parser.parse_args()
    tree = compiled_tree(given.opt, given.jobs)
    if given.tree:
        print(tree)
        return


if __name__ == "__main__":
    main()
