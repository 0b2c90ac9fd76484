"""One sequence of CNI calls and `ip` commands on both sides: the real plugins in namespaces of the kernel, emu's in its own.

Each side gives lines: what each call printed, and then what is there. Names and MACs of veths are drawn, so that they are
replaced by `veth1`, `MAC1` ... in the order in which results name them. Must not know any plugin.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

import ip_words
from emu.clock import Clock
from emu.kernel import boot
from emu.kube.cni import invoke
from emu.kube.cni.spec import Attachment, CniError, Host
from emu.twin import sysctls, tables
from emu.twin.cni import FOLDER
from emu.twin.space import Space, TwinError
from emu.wire.addr import ZERO_MAC, mac_text

SPACES = ("node", "pod0", "pod1")
# the MACs that cases set begin so; others are drawn
_OWN = "02:00:00:"
_MAC = re.compile(r"\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b")


@dataclass(frozen=True)
class Call:
    """One call of a plugin. `chained`: it gets the last result of its pod, or `previous` if there is one; `netns` False:
    CNI_NETNS is empty."""

    command: str
    kind: str
    conf: Mapping[str, Any]
    pod: int = 0
    ifname: str = "eth0"
    args: str = ""
    chained: bool = True
    netns: bool = True
    cid: str = ""
    previous: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Do:
    """A command of `ip` (without that word) in one of SPACES, or `sysctl NAME VALUE`."""

    where: str
    command: str


Step = Call | Do


def add(kind: str, chained: bool = False, **conf: Any) -> Call:
    return Call("ADD", kind, conf, chained=chained)


def then(kind: str, **conf: Any) -> Call:
    """An ADD that gets the result before it."""
    return add(kind, chained=True, **conf)


def check(kind: str, **conf: Any) -> Call:
    return Call("CHECK", kind, conf)


def delete(kind: str, **conf: Any) -> Call:
    return Call("DEL", kind, conf)


@dataclass
class _Side:
    lines: list[str] = field(default_factory=list)
    results: dict[int, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def config(self, call: Call) -> dict[str, Any]:
        config = {"cniVersion": "1.0.0", "name": "net", "type": call.kind, **call.conf}
        if call.previous is not None:
            config["prevResult"] = call.previous
        elif call.chained and call.pod in self.results:
            config["prevResult"] = self.results[call.pod]
        return config

    def got(self, call: Call, result: Mapping[str, Any]) -> None:
        if call.command == "ADD":
            self.results[call.pod] = result
            for each in result.get("interfaces", ()):
                self._name(each["name"], "veth", each["name"].startswith("veth"))
                self._name(each["name"], "bwp", each["name"].startswith("bwp"))
                drawn = each.get("mac") and each["mac"] != mac_text(ZERO_MAC) and not each["mac"].startswith(_OWN)
                self._name(each.get("mac", ""), "MAC", bool(drawn))
        kept = {key: value for key, value in result.items() if value}
        self.line(f"{call.command} {call.kind}: {json.dumps(kept, sort_keys=True)}")

    def failed(self, call: Call, code: Any, msg: Any) -> None:
        # the emulator has no path of plugins: it names those that it has
        text = re.sub(r'(failed to find plugin "[^"]*")(?: in path \[.*\]|: emu has .*)$', r"\1", str(msg))
        self.line(f"{call.command} {call.kind}: {code} {text}")

    def _name(self, word: str, kind: str, drawn: bool) -> None:
        if drawn and word not in self.names:
            self.names[word] = f"{kind}{sum(each.startswith(kind) for each in self.names.values()) + 1}"

    def line(self, text: str) -> None:
        for word, name in self.names.items():
            text = text.replace(word, name)
        text = re.sub(r"\bveth[0-9a-f]{8}\b", "veth?", text)
        self.lines.append(_MAC.sub(lambda found: found[0] if found[0].startswith(_OWN) else "MAC?", text))


class Kernel:
    """The real plugins, which find the tools in `tools` (PATH)."""

    def __init__(self, stack: ExitStack, tools: str = os.environ.get("PATH", "")) -> None:
        self.side, self.tools = _Side(), tools
        self.disk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emu-cni-")))
        self.spaces = {name: Space(name) for name in SPACES}
        for space in self.spaces.values():
            stack.callback(space.close)
            with space.inside():
                for key in ("all", "default"):
                    with suppress(OSError):
                        Path(f"/proc/sys/net/ipv6/conf/{key}/disable_ipv6").write_text("1")
            space.ip([["link", "set", "lo", "up"]])

    def call(self, call: Call) -> tuple[int, str]:
        """Gives the error's code and message; 0 without one."""
        config = json.loads(self._paths(json.dumps(self.side.config(call))))
        ipam = config.get("ipam") or {}
        if ipam.get("type") == "host-local":
            config["ipam"] = {**ipam, "dataDir": str(self.disk)}
        if call.kind == "tuning":
            config["dataDir"] = str(self.disk / "tuning")
        path = self.spaces[f"pod{call.pod}"].path
        words = {
            "CNI_COMMAND": call.command,
            "CNI_CONTAINERID": call.cid or f"cid{call.pod}",
            "CNI_NETNS": path if call.netns else "",
            "CNI_IFNAME": call.ifname,
            "CNI_ARGS": call.args,
            "CNI_PATH": str(FOLDER),
            "PATH": self.tools,
        }
        with self.spaces["node"].inside():
            done = subprocess.run(
                [FOLDER / call.kind], input=json.dumps(config), capture_output=True, text=True, check=False, env=words
            )
        printed = json.loads(done.stdout or "{}")
        if done.returncode:
            message = self._text(str(printed.get("msg")))
            self.side.failed(call, printed.get("code"), message)
            return int(printed.get("code") or -1), message
        self.side.got(call, json.loads(self._text(json.dumps(printed))))
        if call.command == "ADD":
            self.side.results[call.pod] = printed
        return 0, ""

    def _paths(self, text: str) -> str:
        for name, space in self.spaces.items():
            text = text.replace(f'"/var/run/netns/{name}"', f'"{space.path}"')
        return text

    def _text(self, text: str) -> str:
        for name, space in self.spaces.items():
            text = text.replace(space.path, f"/var/run/netns/{name}")
        return text

    def do(self, step: Do) -> None:
        words = step.command.split()
        if words[0] == "sysctl":
            sysctls.write(self.spaces[step.where], {words[1]: words[2]})
        else:
            self.spaces[step.where].ip([words])

    def state(self) -> Iterator[tuple[str, list[str]]]:
        for name, space in self.spaces.items():
            for what, lines in tables.kernel_setup(space).items():
                yield f"{name} {what}", lines
            yield f"{name} routes", list(tables.kernel_routes(space))
            yield f"{name} rules", _rules(space.run("ip", "rule", "show").splitlines())
        yield "node iptables", _chains(self.spaces["node"].run("iptables-save", "-t", "nat"))
        yield "node qdiscs", list(tables.kernel_qdiscs(self.spaces["node"]))
        yield "node vlans", list(tables.kernel_vlans(self.spaces["node"]))
        yield "node nftables", [each.strip() for each in _bridge_rules(self.spaces["node"])]


class Emulated:
    """emu's plugins."""

    def __init__(self) -> None:
        self.side = _Side()
        clock = Clock(1)
        self.spaces = {name: boot.namespace(clock, name) for name in SPACES}
        self.host = Host(self.spaces["node"])

    def call(self, call: Call) -> tuple[int, str]:
        """Gives the error's code and message; 0 without one."""
        config = msgspec.json.decode(msgspec.json.encode(self.side.config(call)))
        pod = self.spaces[f"pod{call.pod}"] if call.netns else None
        attachment = Attachment(call.cid or f"cid{call.pod}", pod, call.ifname, self.host, call.args)
        result: Mapping[str, Any] = {}
        try:
            if call.command == "ADD":
                result = invoke.add(call.kind, config, attachment).to_json(config["cniVersion"])
            else:
                {"CHECK": invoke.check, "DEL": invoke.delete}[call.command](call.kind, config, attachment)
        except CniError as error:
            self.side.failed(call, error.code, error.msg)
            return error.code, error.msg
        self.side.got(call, json.loads(msgspec.json.encode(result)))
        return 0, ""

    def do(self, step: Do) -> None:
        ip_words.run(self.spaces, step.where, step.command.split())

    def state(self) -> Iterator[tuple[str, list[str]]]:
        for name, net in self.spaces.items():
            for what, lines in tables.emulated_setup(net).items():
                yield f"{name} {what}", lines
            yield f"{name} routes", list(tables.emulated_routes(net))
            yield f"{name} rules", _rules([each.text() for each in net.ipv4.fib.rules])
        yield "node iptables", _chains(self.spaces["node"].ipv4.tables.save())
        yield "node qdiscs", list(tables.emulated_qdiscs(self.spaces["node"]))
        yield "node vlans", list(tables.emulated_vlans(self.spaces["node"]))
        sources = self.spaces["node"].bridge_hooks.sources
        yield "node nftables", [] if sources is None else list(sources.lines())


def _bridge_rules(space: Space) -> list[str]:
    """The table of `macspoofchk`; nothing where no rule was ever made."""
    try:
        listed = space.run("nft", "list", "table", "bridge", "nat")
    except TwinError:
        return []
    return [line for line in listed.splitlines() if line.strip()]


def _rules(lines: Sequence[str]) -> list[str]:
    return [" ".join(line.split()) for line in lines]


def _chains(text: str) -> list[str]:
    """The rules that CNI plugins write, in order."""
    return [line for line in tables.rules(text) if "CNI-" in line]


def _all(side: _Side, state: Iterator[tuple[str, list[str]]]) -> None:
    for what, lines in state:
        before = len(side.lines)
        for line in lines:
            side.line(f"{what}: {line}")
        if not what.endswith(("iptables", "nftables")):
            side.lines[before:] = sorted(side.lines[before:])


def _run(side: Kernel | Emulated, steps: Sequence[Step]) -> list[str]:
    for step in steps:
        if isinstance(step, Call):
            side.call(step)
        else:
            side.do(step)
    _all(side.side, side.state())
    return side.side.lines


def kernel_alone(steps: Sequence[Step]) -> list[str]:
    """What the real plugins left, without sysctls."""
    with ExitStack() as stack:
        return _run(Kernel(stack), steps)


def emulated_alone(steps: Sequence[Step]) -> list[str]:
    """What emu's left, without sysctls."""
    return _run(Emulated(), steps)


def both(steps: Sequence[Step]) -> tuple[list[str], list[str]]:
    """What the real plugins left and what emu's left, as lines; sysctls in which the two sides differ among them."""
    with ExitStack() as stack:
        kernel, emulated = Kernel(stack), Emulated()
        _run(kernel, steps)
        _run(emulated, steps)
        for name in SPACES:
            found, have = sysctls.differences(kernel.spaces[name], emulated.spaces[name])
            for one, lines in ((kernel.side, found), (emulated.side, have)):
                for line in lines:
                    one.line(f"{name} sysctl: {line}")
        return kernel.side.lines, emulated.side.lines
