"""The shell commands of a script: sysctls are set on the emulated host, and what would only prepare a real machine is left out.

No command is run. Must not know packets or calls.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from emu.errors import InputError
from emu.kernel.sysctl import Sysctls, report

_PROC = "/proc/sys/"
_ARITHMETIC = re.compile(r"\$\(\(([0-9*+ ()-]+)\)\)")
_REDIRECTION = re.compile(r"\s*(?:[0-9]?>&?\s*\S+|\|\|\s*true)")
# what a host that is new for each script does not need
_NEEDLESS = ("ip tcp_metrics flush", "tc qdisc add dev tun0 root pfifo")
_RESTORE = "/tmp/sysctl_restore_"  # noqa: S108  # a word of scripts: nothing is opened


def run(text: str, sysctl: Sysctls, folder: Path, notes: list[str]) -> None:
    """Obey the commands. `folder` is the script's: other scripts are named from there. `notes` gets a sentence for each setting that emu does
    not model. Raises InputError for what is outside of the subset."""
    for line in _lines(text):
        _command(line, sysctl, folder, notes)


def _lines(text: str) -> Iterator[str]:
    """The commands, one each; without comments, and with lines that go on joined."""
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        for part in re.split(r"\s*(?:;|&&)\s*", line):
            if part:
                yield part


def _command(line: str, sysctl: Sysctls, folder: Path, notes: list[str]) -> None:
    line = _REDIRECTION.sub("", line).strip()
    line = _ARITHMETIC.sub(lambda found: str(_product(found[1])), line)
    try:
        words = shlex.split(line)
    except ValueError:
        raise InputError(f"cannot read the command {line!r}", expected="words") from None
    if not words or line.startswith(_NEEDLESS) or words[0].startswith(_RESTORE):
        return
    if words[0] == "sysctl":
        _assign([word for word in words[1:] if not word.startswith("-")], sysctl, notes)
    elif words[0].endswith("set_sysctls.py"):
        _assign([word.removeprefix(_PROC) for word in words[1:]], sysctl, notes)
    elif words[0].endswith(".sh"):
        path = folder / words[0]
        if not path.is_file():
            raise InputError(f"there is no file {words[0]!r}", expected="a script beside the file, as it names it")
        run(path.read_text(encoding="utf-8"), sysctl, path.parent, notes)
    else:
        raise InputError(
            f"the command {line!r} is outside of the subset", expected="sysctl, set_sysctls.py or a script of them"
        )


def _assign(pairs: list[str], sysctl: Sysctls, notes: list[str]) -> None:
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = name.replace("/", ".")
        if not equals:
            raise InputError(f"sysctl {pair!r} sets nothing", expected="NAME=VALUE")
        try:
            before = sysctl[name]
            sysctl[name] = int(value, 16) if value.startswith("0x") else value
        except InputError as error:
            notes.append(f"{name}={value} is left out: {error.what}")
            continue
        if sysctl[name] != before:
            noted = report(name, sysctl[name])
            notes.extend([noted] if noted else [])


def _product(text: str) -> int:
    """The value of sums and products of numbers, as in $((15*1024*1024))."""
    total = 0
    for term in text.replace("(", "").replace(")", "").split("+"):
        value = 1
        for factor in term.split("*"):
            value *= int(factor)
        total += value
    return total
