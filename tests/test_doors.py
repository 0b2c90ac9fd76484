"""Single doors and house rules: a reader can check each with one grep, and a test here does.

Scapy, time and chance, and walks over folders have one door each, and one file writes a live frame's bytes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sources import nodes, tree

ROOT = Path(__file__).parent.parent
EMU = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "emu").rglob("*.py"))
ALL = EMU + sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py"))
# What only one file may import. The twin lives on the host, and on the host's clock.
CLOCK = ("emu/clock.py", "emu/twin/")
# emu/__init__ imports its names late, and emu/compiled chooses what is imported: they walk nothing
WALKER = ("emu/registry.py", "emu/__init__.py", "emu/compiled.py")
DOORS = {
    "scapy": ("emu/craft.py",),
    **dict.fromkeys(("heapq", "random", "time", "secrets"), CLOCK),
    **dict.fromkeys(("pkgutil", "importlib"), WALKER),
}
DATA = {"importlib.resources", "importlib.metadata"}  # they read data, they import nothing
HOST_READS = re.compile(r"(^|\.)((date|datetime)\.(now|utcnow|today)|uuid[14]|urandom|getrandom)$")
# Names of a frame's bytes: of a live one, and of one that was captured (those two by numbers and slices, reports are
# subscripted by words)
BUFFERS = {"buf", "quote"}
CAPTURED = {"data", "packet", "payload", "arp", "frame"}
# an independent judge of emu's own parsers, as its heading states; and what reads the kernel's rings, reports and structures
JUDGES = ("emu/twin/normalise.py",)
KERNEL_READERS = tuple(f"emu/twin/{name}.py" for name in ("sights", "ring", "traces", "drops", "btf"))
SIGHTS = [
    path
    for path in EMU
    if path.startswith(("emu/capture/", "emu/report/", "emu/twin/")) and path not in (*JUDGES, *KERNEL_READERS)
]
READERS = [path for path in EMU if path.startswith(("emu/kernel/", "emu/testing/", "emu/kube/", "emu/lab.py"))]
WRITERS = ("emu/wire/rewrite.py", "emu/wire/frame.py")
CHANGING = {"append", "extend", "insert", "pop", "remove", "clear", "reverse"}
MATCH_HELPER = "emu/kernel/netfilter/matches/helper.py"  # `-m helper` is the field's word, and a match's file bears it
EMPTY_WORDS = {"Manager", "Helper", "Helpers", "Util", "Utils", "Handler", "Info", "Base"}
# Words that a reader must decode; the field has better ones (states, reports, no one, the route is via ...). They stand in
# no comment, docstring, text or name of emu, and in no page.
DECODING_WORDS = {
    *("told", "tell", "tells", "telling", "said", "say", "says", "saying", "hear", "hears", "heard"),
    *("nobody", "somebody", "anybody", "everybody", "whoever", "whomever"),
    *("lot", "lots", "leads", "heed", "heeds", "heeded", "heeding"),
    *("employ", "employs", "employed", "introduce", "introduces", "introduced"),
}
WHO_HAS = "ARP's line as tcpdump prints it: who-has X tell Y"
STORY_KEY = "the key of scenario files, emu/v1"
MEASURED = "a step's title in a measured ladder, which is kept as it was taken"
OWN = "tests/test_doors.py"  # it lists the words
KEPT_WORDS = {
    ("emu/capture/summary.py", "tell"): WHO_HAS,
    ("emu/twin/compare.py", "tell"): WHO_HAS,
    ("emu/twin/normalise.py", "tell"): WHO_HAS,
    ("emu/scenario/kinds.py", "says"): STORY_KEY,
    ("emu/scenario/story.py", "says"): STORY_KEY,
    ("tests/capture/test_capture.py", "tell"): WHO_HAS,
    ("tests/capture/test_summary.py", "tell"): WHO_HAS,
    ("tests/capture/test_tunnel_words.py", "tell"): WHO_HAS,
    ("tests/reference/test_ladder_compare.py", "tell"): WHO_HAS,
    ("tests/reference/test_ladder_text.py", "tell"): WHO_HAS,
    ("tests/report/test_flow_reports.py", "tell"): WHO_HAS,
    ("tests/report/test_ladders.py", "tell"): WHO_HAS,
    ("tests/support/ladder_frames.py", "tell"): WHO_HAS,
    ("tests/report/test_comes_back.py", "says"): STORY_KEY,
    ("tests/scenario/test_gallery.py", "says"): STORY_KEY,
    ("tests/scenario/test_run.py", "says"): STORY_KEY,
    ("tests/support/ladder_drive.py", "nobody"): MEASURED,
    ("tests/support/ladder_steps.py", "hears"): MEASURED,
}
PAGES = [
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "captures/README.md", "tests/README.md"),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "emu").rglob("*.md")),
]
MAX_LINES = 500
MAY_PRINT = ("emu/cli", "emu/report/", "emu/__main__.py")


def imported(module: ast.Module) -> Iterator[tuple[int, str]]:
    for node in nodes(module):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def wrong_doors(path: str, module: ast.Module) -> list[str]:
    return [
        f"{path}:{line}: {name} may be imported by {' or '.join(DOORS[top])} only"
        for line, name in imported(module)
        if (top := name.split(".")[0]) in DOORS
        and not path.startswith(DOORS[top])
        and ".".join(name.split(".")[:2]) not in DATA
    ]


def host_reads(path: str, module: ast.Module) -> list[str]:
    """Calls that read this host's time or random source, through modules that have other uses too."""
    calls = [node for node in nodes(module) if isinstance(node, ast.Call)]
    return [
        f"{path}:{call.lineno}: {ast.unparse(call.func)}() reads the host; time and chance are the clock's"
        for call in calls
        if HOST_READS.search(ast.unparse(call.func)) and not path.startswith(CLOCK)
    ]


def writes_to_frames(path: str, module: ast.Module) -> list[str]:
    """Writes into something's `.buf`, also by a local name for it: `buf = frame.buf; buf[0] = 1`."""
    found: set[int] = set()
    functions = [
        node for node in nodes(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    ]
    for scope in [*functions, module]:
        names = {name for node in ast.walk(scope) for name in names_of_buf(node)} if scope is not module else set()
        for node in nodes(module) if scope is module else ast.walk(scope):
            if isinstance(node, ast.Assign | ast.Delete):
                targets = [leaf for target in node.targets for leaf in leaves(target)]
            elif isinstance(node, ast.AugAssign | ast.AnnAssign):
                targets = [node.target]
            elif isinstance(node, ast.Call):
                targets = []
                function = node.func
                changes = (
                    isinstance(function, ast.Attribute) and function.attr in CHANGING and is_buf(function.value, names)
                )
                into = ast.unparse(function).endswith("pack_into") and any(is_buf(arg, names) for arg in node.args)
                if changes or into:
                    found.add(node.lineno)
            else:
                continue
            for target in targets:
                if isinstance(target, ast.Subscript) and is_buf(target.value, names):
                    found.add(target.lineno)
                if isinstance(target, ast.Attribute) and target.attr == "buf" and ast.unparse(target.value) != "self":
                    found.add(target.lineno)
    return [f"{path}:{line}: writes into a live frame" for line in sorted(found)]


def reads_of_frames(path: str, module: ast.Module) -> list[str]:
    """Places in a frame's bytes, spelled where no header is known: a subscript of a `.buf` (or of a local name for it),
    `unpack_from` on one. Names of `wire/` for such places are `ETH_HLEN`, `tcp.head` and its readers."""
    found: set[int] = set()
    for node in nodes(module):
        if isinstance(node, ast.Subscript) and is_buf(node.value, BUFFERS):
            found.add(node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("unpack_from"):
            if any(is_buf(arg, BUFFERS) for arg in node.args):
                found.add(node.lineno)
    return [f"{path}:{line}: spells a place in a frame's bytes; wire/ has the readers" for line in sorted(found)]


def reads_of_captured(path: str, module: ast.Module) -> list[str]:
    """The same for captured bytes: a place that is a number, or a slice between such, of `data`, `packet` ..., also by an
    attribute of that name; `unpack_from` at a number in one."""
    found: set[int] = set()
    for node in nodes(module):
        if isinstance(node, ast.Subscript) and names_bytes(node.value):
            if any(isinstance(each, ast.Constant) and isinstance(each.value, int) for each in ast.walk(node.slice)):
                found.add(node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("unpack_from"):
            if any(names_bytes(arg) for arg in node.args):
                found.add(node.lineno)
    return [f"{path}:{line}: spells a place in captured bytes; wire/ has the readers" for line in sorted(found)]


def names_bytes(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in CAPTURED | BUFFERS


def leaves(target: ast.expr) -> Iterator[ast.expr]:
    if isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            yield from leaves(element)
    else:
        yield target


def names_of_buf(node: ast.AST) -> Iterator[str]:
    """The local names that an assignment gives to a `.buf`, tuples taken apart."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            for name, value in pairs:
                if isinstance(name, ast.Name) and is_buf(value, set()):
                    yield name.id
    elif isinstance(node, ast.NamedExpr) and is_buf(node.value, set()):
        yield node.target.id


def is_buf(node: ast.expr, names: set[str]) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "buf") or (isinstance(node, ast.Name) and node.id in names)


def empty_words(path: str, module: ast.Module) -> list[str]:
    """Classes and files named after nothing in the field."""
    names = [node.name for node in nodes(module) if isinstance(node, ast.ClassDef)]
    if path != MATCH_HELPER:
        names.append(Path(path).stem.title().replace("_", ""))
    return [f"{path}: {name}" for name in names if EMPTY_WORDS & set(re.findall(r"[A-Z][a-z]+", name))]


def star_imports(path: str, module: ast.Module) -> list[str]:
    """Star imports: they hide where a name comes from."""
    return [
        f"{path}:{node.lineno}: a star import"
        for node in nodes(module)
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    ]


def prints(path: str, module: ast.Module) -> list[str]:
    """Calls of print outside the command line: results are returned."""
    if path.startswith(MAY_PRINT):
        return []
    calls = [node for node in nodes(module) if isinstance(node, ast.Call)]
    return [
        f"{path}:{call.lineno}: prints" for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"
    ]


def openings(path: str, module: ast.Module) -> list[str]:
    """A file that does not open with what it is and what it must not know, or that is too long."""
    docstring = ast.get_docstring(module) or ""
    lines = [line for line in docstring.splitlines() if line.strip()]
    limits = "ust not " in " ".join(docstring.split())  # "Must not know ..."
    wrong = []
    if not lines or not (limits or not path.startswith("emu/") or path.endswith("__init__.py")):
        wrong.append(f"{path}: the docstring does not state what the file is and what it must not know")
    length = len((ROOT / path).read_text().splitlines())
    if length > MAX_LINES:
        wrong.append(f"{path}: {length} lines, more than {MAX_LINES}")
    return wrong


def words(text: str) -> list[str]:
    """The words of prose and code in lower case: `as_told` and `AsTold` have two words each."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)]


def plain_words(path: str, module: ast.Module | None = None) -> list[str]:
    """Words that a reader must decode, in prose, texts and names."""
    return [
        f"{path}:{number}: {word!r} is not plain"
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        for word in words(line)
        if word in DECODING_WORDS and (path, word) not in KEPT_WORDS
    ]


# Each rule is one loop over the files: a test a file and rule costs more in pytest than in the rule.
RULES: tuple[tuple[Callable[[str, ast.Module], list[str]], list[str]], ...] = (
    (wrong_doors, EMU),
    (host_reads, EMU),
    (writes_to_frames, [path for path in EMU if path not in WRITERS]),
    (reads_of_frames, [*READERS, *SIGHTS]),
    (reads_of_captured, SIGHTS),
    (star_imports, EMU),
    (empty_words, EMU),
    (prints, EMU),
    (openings, ALL),
    (plain_words, [path for path in ALL if path != OWN]),
)


@pytest.mark.parametrize(("rule", "paths"), RULES, ids=[rule.__name__ for rule, _ in RULES])
def test_the_rules_hold_in_every_file(rule: Callable[[str, ast.Module], list[str]], paths: list[str]) -> None:
    assert len(paths) > 10
    assert [line for path in paths for line in rule(path, tree(Path(path)))] == []


def test_the_pages_have_plain_words_and_every_exception_is_used() -> None:
    assert len(PAGES) > 6 and [line for page in PAGES for line in plain_words(page)] == []
    assert all(word in words((ROOT / path).read_text()) for path, word in KEPT_WORDS)


def test_the_gallery_speaks_plainly() -> None:
    """Its sentences are comments of frames; `says` is a key there."""
    files = sorted((ROOT / "emu/scenario/gallery").glob("*.yaml"))
    found = [
        f"{path.name}:{number}: {word!r} is not plain"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for word in words(line.replace("says: >-", ""))
        if word in DECODING_WORDS
    ]
    assert len(files) > 17 and found == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("# Nobody looks", ["nobody"]),
        ("def as_told(): ...", ["told"]),
        ("class WhoeverAsks: ...", ["whoever"]),
        ("TOLD = 1", ["told"]),
        ("'tell' + says", ["tell", "says"]),
        ("mislead, essay, slot, intellect, heedless", []),
    ],
)
def test_the_plain_words_rule_itself(source: str, found: list[str]) -> None:
    assert [word for word in words(source) if word in DECODING_WORDS] == found


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("frame.buf[0] = 1", True),
        ("frame.buf[0:2] += b'x'", True),
        ("a, frame.buf[3] = 1, 2", True),
        ("del frame.buf[9:]", True),
        ("frame.buf = bytearray()", True),
        ("frame.buf.extend(b'x')", True),
        ("pack_into('>H', frame.buf, 0, 1)", True),
        ("def f(frame):\n    buf = frame.buf\n    buf[1] = 2", True),
        ("def f(frame):\n    buf, x = frame.buf, 1\n    buf[1] = 2", True),
        ("def f(frame):\n    buf = frame.buf[:]\n    buf[1] = 2", False),
        ("def f():\n    buf = bytearray(64)\n    buf[1] = 2\n    return buf", False),
        ("def f(frame):\n    return frame.buf[3] == 1", False),
    ],
)
def test_the_frame_rule_itself(source: str, wrong: bool) -> None:
    assert bool(writes_to_frames("emu/kernel/net/x.py", ast.parse(source))) is wrong


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("frame.buf[22]", True),
        ("frame.buf[16] << 8 | frame.buf[17]", True),
        ("int.from_bytes(quoted.buf[l4 + 4 : l4 + 8])", True),
        ("def f(frame):\n    buf = frame.buf\n    return buf[frame.l4 + 13]", True),
        ("unpack_from('!H', frame.buf, 12)", True),
        ("head(frame.buf, frame.l4)", False),
        ("len(frame.buf) + 512", False),
        ("frame.tot_len", False),
    ],
)
def test_the_offset_rule_itself(source: str, wrong: bool) -> None:
    assert bool(reads_of_frames("emu/kernel/net/x.py", ast.parse(source))) is wrong


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("captured.data[12:14] == b'x'", True),
        ("data[23]", True),
        ("packet[(packet[0] & 15) * 4 :]", True),
        ("unpack_from('!H', data, 12)", True),
        ("frame[start : start + 4]", True),
        ("report.data['outcome']", False),
        ("data[: self.snap]", False),
        ("macs(captured.data)", False),
    ],
)
def test_the_rule_of_captured_bytes_itself(source: str, wrong: bool) -> None:
    assert bool(reads_of_captured("emu/capture/x.py", ast.parse(source))) is wrong


def test_a_judge_states_that_it_is_one() -> None:
    for path in JUDGES:
        assert "must not use emu's own parsers" in " ".join((ast.get_docstring(tree(Path(path))) or "").split())
        assert not [name for _, name in imported(tree(Path(path))) if name.startswith("emu")]


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("emu/report/a.py", "def f():\n    from scapy.all import IP", True),
        ("emu/craft.py", "import scapy.all", False),
        ("emu/kernel/net/a.py", "from time import monotonic_ns", True),
        ("emu/twin/a.py", "import time", False),
        ("emu/apps/a.py", "import importlib", True),
        ("emu/apps/a.py", "import uuid\nuuid.uuid4()", True),
        ("emu/apps/a.py", "import uuid\nuuid.UUID(int=3)", False),
        ("emu/apps/a.py", "from datetime import datetime\ndatetime.now(tz=UTC)", True),
        ("emu/apps/a.py", "clock.now()", False),
        ("emu/scenario/a.py", "from importlib import resources", False),
    ],
)
def test_the_door_rule_itself(path: str, source: str, wrong: bool) -> None:
    module = ast.parse(source)
    assert bool(wrong_doors(path, module) + host_reads(path, module)) is wrong


@pytest.mark.parametrize(
    ("name", "wrong"), [("BaseDevice", True), ("Ctinfo", False), ("Basement", False), ("IPInfo", True)]
)
def test_the_word_rule_itself(name: str, wrong: bool) -> None:
    assert bool(empty_words("emu/x.py", ast.parse(f"class {name}: pass"))) is wrong
