"""`emu cni`: a CNI runtime on one emulated machine, command by command, as plugins are asked on a real one.

A state file lists the calls made so far. Each command makes the machine anew and repeats them, which gives the same
machine: same seed, same bytes. Must not know what a plugin does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from emu.capture.atomic import whole_file
from emu.cli.cni_command import Command
from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kube.api.documents import read_text
from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.keys import remarks
from emu.kube.cni.runtime import Runtime
from emu.kube.cni.spec import VERSIONS, Attachment, CniError, Host

FORMAT = "emu-cni/v1"
FAILED = 1
_NETNS = re.compile(r"(?:/var)?/run/netns/(.+)")


CHANGING = (Command.add, Command.delete, Command.gc)


class Call(msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """One command, with its list as JSON. `netns` is a namespace's name, "" when there is none any more; `valid` are
    pairs of container and interface, for GC."""

    command: Command
    config: dict[str, Any]
    container_id: str = ""
    netns: str = ""
    if_name: str = ""
    args: str = ""
    capability_args: dict[str, Any] = {}
    valid: list[tuple[str, str]] = []


class State(msgspec.Struct, forbid_unknown_fields=True):
    """A state file: the calls that may have changed the machine, in order."""

    format: str = FORMAT
    calls: list[Call] = []


@dataclass(frozen=True)
class Asked:
    """The options. `netns` None: a namespace with the container's name; "": none."""

    container_id: str = ""
    netns: str | None = None
    ifname: str = "eth0"
    args: str = ""
    capability_args: str = ""
    name: str = ""
    valid: Sequence[str] = field(default_factory=tuple)


def run(command: Command, config: Path | None, state: Path | None, asked: Asked) -> tuple[int, str, list[str]]:
    """Exit status (1: the plugins' error), what is printed ("" for nothing) and remarks. Raises InputError for files and
    options that cannot be read, Undecided for a key that is not modelled; the state file stays as it was then."""
    if config is None:
        if command is Command.version:
            return 0, _json({"cniVersion": VERSIONS[-1], "supportedVersions": list(VERSIONS)}), []
        raise InputError("no network configuration is named", expected="-c FILE, or -c FOLDER")
    network = NetworkConfigList.find(config, asked.name) if config.is_dir() else NetworkConfigList.load(config)
    call = _call(command, network, asked)
    machine = Machine()
    past = _read(state) if state is not None else State()
    try:
        for each in past.calls:
            machine.repeat(each)
    except InputError as error:
        raise error.at(file=str(state)) from None
    status, text = 0, ""
    try:
        answer = machine.make(network, call)
        text = _json(answer) if answer is not None else ""
    except CniError as error:
        status, text = FAILED, _json(error.to_json())
    if state is not None and command in CHANGING:
        past.calls.append(call)
        with whole_file(state, _is_state) as file:
            file.write(msgspec.json.format(msgspec.json.encode(past), indent=2) + b"\n")
    return status, text, [f"{where}: {what}" for where, what in remarks(network)]


class Machine:
    """One machine without pods, its CNI runtime, and the namespaces that its calls named. Its eth0 is on a cable, and has the
    default route."""

    def __init__(self) -> None:
        self.clock = Clock(1)
        self.host = Host(boot.namespace(self.clock, "node"))
        lan = boot.namespace(self.clock, "lan")
        boot.veth(self.host.netns, "eth0", lan, "eth0", "02:42:00:00:00:0b", "02:42:00:00:00:01")
        boot.address(self.host.netns, "eth0", "192.168.50.11/24")
        boot.route(self.host.netns, "default via 192.168.50.1")
        self.runtime = Runtime()
        self.namespaces: dict[str, Netns] = {}

    def make(self, network: NetworkConfigList, call: Call) -> Mapping[str, Any] | None:
        """One call; what it prints. Raises CniError."""
        runtime, given = self.runtime, call.capability_args
        if call.command is Command.gc:
            runtime.gc(network, call.valid, self.host)
        elif call.command is Command.status:
            runtime.status(network, self.host)
        elif call.command is Command.version:
            return runtime.version(network, self.host)
        else:
            at = Attachment(call.container_id, self._netns(call.netns), call.if_name, self.host, call.args)
            if call.command is Command.add:
                return runtime.add(network, at, given).to_json(network.version)
            change = runtime.delete if call.command is Command.delete else runtime.check
            change(network, at, given)
        return None

    def repeat(self, call: Call) -> None:
        """A call of the past. It fails again, if it failed."""
        try:
            self.make(NetworkConfigList.from_json(call.config), call)
        except CniError:
            return

    def _netns(self, name: str) -> Netns | None:
        """The namespace of that name; there is one from the first call on that names it."""
        if name and name not in self.namespaces:
            self.namespaces[name] = boot.namespace(self.clock, name)
        return self.namespaces.get(name)


def _call(command: Command, network: NetworkConfigList, asked: Asked) -> Call:
    if command not in (Command.add, Command.delete, Command.check):
        return Call(command, network.to_json(), valid=[_pair(each) for each in asked.valid])
    given = asked.container_id if asked.netns is None else asked.netns
    path = _NETNS.fullmatch(given)
    name = path[1] if path else given
    if "/" in name and asked.netns is not None:
        raise InputError(f"{given!r} is not a namespace", expected="--netns NAME or /var/run/netns/NAME")
    return Call(
        command, network.to_json(), asked.container_id, name, asked.ifname, asked.args, _capabilities(asked.capability_args)
    )  # fmt: skip


def _pair(text: str) -> tuple[str, str]:
    container_id, slash, ifname = text.partition("/")
    if not (container_id and slash and ifname):
        raise InputError(f"{text!r} is not an attachment", expected="--valid CONTAINER/INTERFACE")
    return container_id, ifname


def _capabilities(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        what = f"--capability-args cannot be read: {error}"
        raise InputError(what, expected='a JSON object: {"mac": "02:00:00:00:00:01"}') from None


def _read(path: Path) -> State:
    """The state file; one that is absent or empty is the beginning. Raises InputError."""
    if not path.exists() or not path.stat().st_size:
        return State()
    try:
        found = msgspec.json.decode(read_text(path), type=State)
        if found.format != FORMAT:
            raise InputError(f"its format is {found.format!r}", file=str(path), expected=FORMAT)
        return found
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InputError(f"is no state of emu cni: {error}", file=str(path)) from None


def _is_state(path: Path) -> bool:
    try:
        return msgspec.json.decode(path.read_bytes(), type=State).format == FORMAT
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return False


def _json(data: Mapping[str, Any]) -> str:
    """As plugins print: four spaces."""
    return json.dumps(data, indent=4, ensure_ascii=False)
