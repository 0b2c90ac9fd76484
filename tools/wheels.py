"""Build emu's wheels: the pure one, and one for this Python whose hot modules are compiled by mypyc from the same source.

`COMPILED` and `LEFT_OUT` are the whole list of what is compiled. `--tree` gives a copy of the project with the compiled modules
beside their sources, kept under build/ by a hash of the sources. Called by tools/wheel and tools/test. Must not import emu.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "compiled"
# Folders and files whose modules are compiled.
COMPILED = (
    "emu/wire",
    "emu/clock.py",
    "emu/kernel",
    "emu/capture",
    "emu/kube/cni",
    "emu/kube/controllers",
    "emu/kube/flow",
    "emu/kube/node",
    "emu/kube/proxy",
    "emu/kube/store.py",
    "emu/kube/unmodelled.py",
)
# What stays interpreted there, and why.
LEFT_OUT: dict[str, str] = {
    "__init__.py": "a package's heading has no code, and a shelf is filled by modules that may be a user's own",
    "emu/wire/shown.py": "a subclass of int",
    "emu/wire/edit.py": "reads options of a command, once",
    "emu/wire/edit_link.py": "as edit.py",
    "emu/wire/summary.py": "writes text for people",
    "emu/kernel/commands.py": "reads lines of commands, once each",
    "emu/kernel/iptables_text.py": "as commands.py",
    "emu/kernel/sysctl_table.py": "a table, and no code: it is the largest C file by far",
    "emu/kernel/dumped/": "reads dumps, once each",
    "emu/kernel/link/vxlan_text.py": "as commands.py",
    "emu/kernel/net/iproute.py": "as commands.py",
    "emu/kernel/netfilter/dump.py": "as dumped",
    "emu/kernel/netfilter/ipset_text.py": "as commands.py",
    "emu/kernel/netfilter/matches/": "a match is a dataclass that registers itself, and a user may add one",
    "emu/kernel/netfilter/targets/": "as matches",
    "emu/kernel/netfilter/ruleset.py": "a rule derives from a class that rules of other modes derive from, too",
    "emu/kernel/netfilter/unknown.py": "its match and target derive from interpreted classes",
    "emu/capture/atomic.py": "asks the system, once a file",
    "emu/capture/blanks.py": "subclasses of int and str",
    "emu/capture/hexdump.py": "reads text, once",
    "emu/capture/pages.py": "writes text for people",
    "emu/capture/pickled.py": "a subclass of a pickler",
    "emu/capture/reasons.py": "a table, and no code",
    "emu/capture/roles.py": "numbers are blanks there: a compiled int is no subclass of int any more",
    "emu/capture/rungs.py": "as pages.py",
    "emu/capture/shelved.py": "a finalizer holds it by a weak reference",
    "emu/capture/states.py": "its taps are closures that are stored in state",
    "emu/capture/summary.py": "as roles.py",
    "emu/capture/view.py": "as roles.py",
    "emu/capture/words.py": "as roles.py",
    "emu/kube/cni/calico_blocks.py": "belongs to one network",
    "emu/kube/cni/container.py": "what a plugin reads is a struct of msgspec",
    "emu/kube/cni/datastore.py": "as calico_blocks.py",
    "emu/kube/cni/ip_masq.py": "as calico_blocks.py",
    "emu/kube/cni/iptables.py": "as calico_blocks.py",
    "emu/kube/cni/keys.py": "a starred value of an index, which the compiler does not know",
    "emu/kube/cni/leaves.py": "as calico_blocks.py",
    "emu/kube/cni/plugins/": "as container.py",
    "emu/kube/cni/spec.py": "as container.py",
    "emu/kube/cni/stacked.py": "as calico_blocks.py",
    "emu/kube/flow/ends.py": "as node.py",
    "emu/kube/flow/programs.py": "its programs run in threads",
    "emu/kube/flow/replay/": "reads captures",
    "emu/kube/flow/spoken.py": "prints events, for people",
    "emu/kube/flow/testbed.py": "declares, and has no code",
    "emu/kube/flow/verbs.py": "a cluster derives from it, and a user may derive from that",
    "emu/kube/node/bandwidth.py": "reads annotations, once a pod",
    "emu/kube/node/namespaces.py": "derives from an interpreted class",
    "emu/kube/node/node.py": "an address that shows itself is a subclass of int",
    "emu/kube/node/script.py": "as bandwidth.py",
    "emu/kube/proxy/iptables/mode.py": "as a match",
    "emu/kube/proxy/kube_proxy.py": "an agent registers itself, and tests derive from it",
    "emu/kube/proxy/mode.py": "modes derive from it, and a user may add one",
}
LIBRARY = "emu.native"  # all compiled code is in one library; what lies beside a source only opens it
LIST = "emu/compiled.txt"  # emu/compiled.py reads it
NOT_OURS = {".git", ".venv", ".hypothesis", "__pycache__", "build", "dist", "build.log", ".whole"}
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")
# A comparison of two constants is no mistake: their values are known only where they are Final.
SEALED_CHECKS = ("--no-strict-equality", "--no-warn-unreachable", "--disable-error-code=redundant-expr")
# mypy 2.4 leaves `__init__` out where interpreted code makes an object of a class whose `__new__` makes an empty one.
EMPTY_INIT = re.compile(
    r"(static int\n(\w+)_init\(PyObject \*self, PyObject \*args, PyObject \*kwds\)\n\{\n)    return 0;\n\}"
)
CALLED_INIT = r"""\1    PyObject *done = CPyPy_\2_____init__(self, args, kwds);
    if (done == NULL) return -1;
    Py_DECREF(done);
    return 0;
}"""
KEPT = 3  # compiled trees, and libraries; older ones are removed
LIBRARIES = BUILD / "libraries"  # by a hash of the C files: a change elsewhere in emu compiles none of them


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
        folders[:] = [
            each
            for each in folders
            if not (each in NOT_OURS or each.startswith(".venv") or each.endswith((".egg-info", "_cache")))
        ]
        below = Path(place).relative_to(folder)
        found.update((below / name).as_posix() for name in names if name not in NOT_OURS)
    return found


def copied(tree: Path, only: tuple[str, ...] = ("",)) -> None:
    """Bring a copy of the project's files to their present state. What was compiled stays."""
    files = {name for name in files_of(ROOT) if name.startswith(only) and not is_built(name)}
    for name in files:
        source, target = ROOT / name, tree / name
        if not target.is_file() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for name in files_of(tree) - files:
        if not is_built(name):
            (tree / name).unlink()


def is_built(name: str) -> bool:
    return name == LIST or name.endswith(sysconfig.get_config_var("EXT_SUFFIX"))


def c_fingerprint(folder: Path, opt: str) -> str:
    """Changes with the C files of a folder and with what makes libraries of them."""
    digest = hashlib.sha256()
    for path in sorted(each for each in folder.rglob("*") if each.suffix in (".c", ".h")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    digest.update(subprocess.run([*compiler, "--version"], capture_output=True, check=False).stdout)
    flags = [os.environ.get(name, "") for name in ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS")]
    digest.update(f"{opt} {flags} {mypy_version()} {sys.version} {sys.prefix} {sysconfig.get_platform()}".encode())
    return digest.hexdigest()[:16]


def brought(names: list[str], source: Path, target: Path) -> None:
    """Copy files to the same places below another folder."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)


def built(folder: Path, target: Path, extensions: list[Any], jobs: int, kept: Path | None = None) -> None:
    """Run setuptools in a copy of the project; the wheel comes into `target`. C files are compiled `jobs` at a time, or the libraries
    are taken from `kept`, and put there."""
    from setuptools import setup  # type: ignore[import-untyped]  # it has no types of its own
    from setuptools.command.build_ext import build_ext  # type: ignore[import-untyped]

    class Together(build_ext):  # type: ignore[misc]
        def build_extensions(self) -> None:
            names = [self.get_ext_filename(self.get_ext_fullname(each.name)) for each in self.extensions]
            if kept is not None and kept.is_dir():
                brought(names, kept, Path(self.build_lib))
                return
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
            if kept is not None:
                whole = kept.with_suffix(".part")
                shutil.rmtree(whole, ignore_errors=True)
                brought(names, Path(self.build_lib), whole)
                whole.rename(kept)

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
    """A copy of the project with compiled modules beside the sources, and both wheels in its dist/. Made once for the same sources."""
    tree = BUILD / fingerprint(opt)
    if not (tree / ".whole").exists():
        need_compiler()
        say(f"compiling {len(compiled())} modules by mypyc, C level {opt} (some minutes)")
        shutil.rmtree(tree, ignore_errors=True)
        copied(tree)
        in_child(tree / "build.log", "--step", "pure", str(tree))
        in_child(tree / "build.log", "--step", "compiled", str(tree), "--opt", opt, "--jobs", str(jobs))
        (tree / ".whole").touch()
        keep_newest(tree)
    copied(tree)
    return tree


def in_child(log: Path, *words: str) -> None:
    """One step in a process of its own: mypy and setuptools keep what they did. What they print goes into a file."""
    with log.open("a", encoding="utf-8") as file:
        done = subprocess.run([sys.executable, __file__, *words], stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        lines = [line for line in log.read_text(encoding="utf-8").splitlines() if "warning:" not in line]
        sys.exit("\n".join([*lines[-20:], f"wheel: the build failed (all of it: {log})"]))


def pure_wheel(target: Path) -> None:
    """From a copy without anything compiled."""
    with tempfile.TemporaryDirectory() as folder:
        copied(Path(folder), ("emu/", "pyproject.toml", "README.md", "LICENSE"))
        built(Path(folder), target, [], 1)


def sealed(text: str) -> str:
    """A module as the compiler gets it: constants (names in capitals that are assigned once) are Final, so that their values stand in
    the compiled code; a field's type that is imported for type checkers only is a string; and `__new__` makes an empty object, as
    Python's does, for copies of state. Each statement keeps its line."""
    module = ast.parse(text)
    stored = [node.id for node in ast.walk(module) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    moving = {name for node in ast.walk(module) if isinstance(node, ast.Global) for name in node.names}
    lines = text.encode().split(b"\n")  # columns are bytes
    for node in module.body:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1 or is_type_variable(node.value):
            continue
        target, at = node.targets[0], node.lineno - 1
        names = [each.id for each in ast.walk(target) if isinstance(each, ast.Name)]
        if any(not CONSTANT.fullmatch(name) or stored.count(name) > 1 or name in moving for name in names):
            continue
        if isinstance(target, ast.Name):
            end = target.end_col_offset or 0
            lines[at] = lines[at][:end] + b": _Final" + lines[at][end:]
        elif isinstance(target, ast.Tuple) and node.end_lineno == node.lineno:
            values = each_of(node.value)
            if len(values) == len(names):
                pairs = zip(names, values, strict=True)
                lines[at] = "; ".join(f"{name}: _Final = {value}" for name, value in pairs).encode()
    late = {
        name.asname or name.name
        for node in module.body
        if isinstance(node, ast.If)
        for each in node.body
        if isinstance(each, ast.ImportFrom)
        for name in each.names
    }
    for kind in module.body:
        for field in kind.body if isinstance(kind, ast.ClassDef) else ():
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.annotation, ast.Name)
                and field.annotation.id in late
            ):
                begin, end, at = field.annotation.col_offset, field.annotation.end_col_offset or 0, field.lineno - 1
                lines[at] = lines[at][:begin] + b'"' + lines[at][begin:end] + b'"' + lines[at][end:]
    for kind in module.body:
        if isinstance(kind, ast.ClassDef) and all(ast.unparse(base).startswith("Generic[") for base in kind.bases):
            first = min([kind.lineno, *(each.lineno for each in kind.decorator_list)]) - 1
            assert not lines[first - 1].strip(), f"line {first}: expected an empty one above a class"
            lines[first - 1] = b"@_attr(serializable=True)"
    head = lines.index(b"from __future__ import annotations")
    lines[head] += b"; from typing import TYPE_CHECKING, Final as _Final"
    lines[head + 1] = b"if TYPE_CHECKING: from mypy_extensions import mypyc_attr as _attr"
    return b"\n".join(lines).decode()


def is_type_variable(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "TypeVar"


def each_of(value: ast.expr) -> list[str]:
    """The items of a tuple or a range, as they are written."""
    if isinstance(value, ast.Tuple):
        return [ast.unparse(each) for each in value.elts]
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "range":
        with contextlib.suppress(ValueError):  # its bounds are no numbers
            return [str(number) for number in range(*(ast.literal_eval(each) for each in value.args))]
    return []


def compile_in(tree: Path, opt: str, jobs: int) -> None:
    from mypyc.build import mypycify

    chosen = compiled()
    os.chdir(tree)
    os.environ["MYPY_CACHE_DIR"] = str(BUILD / "mypy")
    for path in chosen:
        (tree / path).write_text(sealed((ROOT / path).read_text(encoding="utf-8")), encoding="utf-8")
    extensions = mypycify(
        ["--config-file", "pyproject.toml", *SEALED_CHECKS, *chosen],
        opt_level=opt, debug_level="0", multi_file=True, target_dir="build/c", group_name=LIBRARY,
    )  # fmt: skip
    for file in (tree / "build" / "c").rglob("__native_*.c"):
        file.write_text(EMPTY_INIT.sub(CALLED_INIT, file.read_text(encoding="utf-8")), encoding="utf-8")
    copied(tree)  # the sources as they are, for people and for EMU_PURE
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    listed = [LIBRARY.replace(".", "/") + "__mypyc", *(path.removesuffix(".py") for path in chosen)]
    lines = [suffix, *(name.removeprefix("emu/") for name in listed)]
    (tree / LIST).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for each in extensions:
        each.include_dirs.append(f"build/c/{LIBRARY.partition('.')[0]}")  # where the library's own headers are
    kept = LIBRARIES / c_fingerprint(tree / "build" / "c", opt)
    if kept.is_dir():
        print(f"the libraries of the same C files are taken from {kept}", flush=True)
        kept.touch()
    built(tree, tree / "dist", extensions, jobs, kept)
    libraries = list((tree / "build").glob("lib.*"))
    assert len(libraries) == 1, libraries
    for each in libraries[0].rglob(f"*{suffix}"):
        shutil.copy2(each, tree / each.relative_to(libraries[0]))
    shutil.rmtree(tree / "build", ignore_errors=True)


def keep_newest(tree: Path) -> None:
    others = [each for each in BUILD.iterdir() if (each / ".whole").exists() and each != tree]
    for old in sorted(others, key=lambda each: (each / ".whole").stat().st_mtime, reverse=True)[KEPT - 1 :]:
        shutil.rmtree(old)
    for old in sorted(LIBRARIES.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(old)


def say(text: str) -> None:
    print(f"wheel: {text}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/wheel", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--tree", action="store_true", help="only the compiled tree; prints its folder")
    parser.add_argument("--pure", action="store_true", help="only the pure wheel, which needs no compiler")
    parser.add_argument("--opt", default="3", choices=("0", "1", "2", "3"), help="the C compiler's level (3)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="C files at a time (as many as CPUs)")
    parser.add_argument("--python", metavar="3.12", help="by another Python (tools/wheel makes it an environment)")
    parser.add_argument("--all", action="store_true", help="for each Python that tools/wheel finds")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        step, tree = given.step[0], Path(given.step[1])
        pure_wheel(tree / "dist") if step == "pure" else compile_in(tree, given.opt, given.jobs)
        return
    dist = ROOT / "dist"
    if given.pure:
        BUILD.mkdir(parents=True, exist_ok=True)
        in_child(BUILD / "pure.log", "--step", "pure", str(ROOT))
    else:
        tree = compiled_tree(given.opt, given.jobs)
        if given.tree:
            print(tree)
            return
        dist.mkdir(exist_ok=True)
        for each in (tree / "dist").glob("*.whl"):
            shutil.copy2(each, dist)
    for wheel in sorted(dist.glob("*.whl")):
        say(f"{wheel.relative_to(ROOT)}, {wheel.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
