"""The specification's own example network, plugins that stand in for those of a chain and write down their calls, and
what tests of CNI ask again and again.

Must not know any test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.spec import Attachment, CniError, Config, Host, Plugin, Plugins, Result, plugins

DBNET = NetworkConfigList.from_json(
    {
        "cniVersion": "1.1.0",
        "name": "dbnet",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "keyA": ["some more", "plugin specific", "configuration"],
                "isGateway": True,
                "ipam": {
                    "type": "host-local",
                    "subnet": "10.1.0.0/16",
                    "gateway": "10.1.0.1",
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
                "dns": {"nameservers": ["10.1.0.1"]},
            },
            {"type": "tuning", "capabilities": {"mac": True}, "sysctl": {"net.core.somaxconn": "500"}},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
)
MAC = "00:11:22:33:44:66"
MAPPINGS = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
CAPABILITIES: Config = {"mac": MAC, "portMappings": MAPPINGS}
Call = tuple[str, str, Config]


class Recorded:
    """A plugin that writes down its calls, then does `inner`'s work."""

    def __init__(self, name: str, calls: list[Call], inner: Plugin) -> None:
        self.name, self.calls, self.inner = name, calls, inner

    def add(self, config: Config, attachment: Attachment) -> Result:
        self.calls.append(("ADD", self.name, config))
        return self.inner.add(config, attachment)

    def check(self, config: Config, attachment: Attachment) -> None:
        self.calls.append(("CHECK", self.name, config))
        self.inner.check(config, attachment)

    def delete(self, config: Config, attachment: Attachment) -> None:
        self.calls.append(("DEL", self.name, config))
        self.inner.delete(config, attachment)


class Passing:
    """A chained plugin that hands on the result before it."""

    def add(self, config: Config, attachment: Attachment) -> Result:
        return Result.from_json(config["prevResult"])

    def check(self, config: Config, attachment: Attachment) -> None:
        assert "prevResult" in config

    def delete(self, config: Config, attachment: Attachment) -> None:
        pass


class Tuning(Passing):
    """Sets the container's MAC, on the link and in the result."""

    def add(self, config: Config, attachment: Attachment) -> Result:
        result, mac = super().add(config, attachment), config["runtimeConfig"]["mac"]
        assert attachment.netns is not None
        attachment.netns.device(attachment.ifname).mac = bytes.fromhex(mac.replace(":", ""))
        changed = [msgspec.structs.replace(each, mac=mac) if each.sandbox else each for each in result.interfaces]
        return msgspec.structs.replace(result, interfaces=tuple(changed))


class Failing(Passing):
    def add(self, config: Config, attachment: Attachment) -> Result:
        raise CniError(11, "not now", "try later")


def machine(calls: list[Call] | None = None, more: Plugins | None = None) -> Attachment:
    """An attachment of the container `blue` on a machine with emu's plugins, stand-ins for tuning and portmap, and `more`."""
    clock = Clock(1)
    there: Plugins = {**plugins, "tuning": Tuning, "portmap": Passing, **(more or {})}
    if calls is not None:
        there = {name: partial(Recorded, name, calls, make()) for name, make in there.items()}
    host = Host(boot.namespace(clock, "node"), there)
    return Attachment("c0ffee", boot.namespace(clock, "blue"), "eth0", host, "argA=foo;IgnoreUnknown=1")


IPAM = {"type": "host-local", "subnet": "10.9.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
BRIDGE: dict[str, Any] = {"type": "bridge", "isGateway": True, "ipam": IPAM}
CONFIG: dict[str, Any] = {"cniVersion": "1.1.0", "name": "net", **BRIDGE}


def network(*more: Config, version: str = "1.1.0", **keys: Any) -> NetworkConfigList:
    return NetworkConfigList.from_json({"cniVersion": version, "name": "net", "plugins": [BRIDGE, *more], **keys})


def failed(call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(CniError) as caught:
        call()
    return caught.value.code, str(caught.value)


def wrong(given: Config) -> str | None:
    """Where a list is wrong."""
    with pytest.raises(InputError) as caught:
        NetworkConfigList.from_json(given)
    return caught.value.path


def write(folder: Path, **files: Config) -> Path:
    for name, given in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(given))
    return folder


def words(calls: Sequence[Call]) -> list[str]:
    return [f"{word} {name}" for word, name, _ in calls]


class Caring(Passing):
    """A plugin with GC and STATUS."""

    def __init__(self, calls: list[Call], name: str, error: CniError | None = None) -> None:
        self.calls, self.name, self.error = calls, name, error

    def gc(self, config: Config, host: Host) -> None:
        self._noted("GC", config)

    def status(self, config: Config, host: Host) -> None:
        self._noted("STATUS", config)

    def _noted(self, word: str, config: Config) -> None:
        self.calls.append((word, self.name, config))
        if self.error is not None:
            raise self.error


def caring(calls: list[Call], error: CniError | None = None) -> Attachment:
    """A machine whose `tuning` and `portmap` have GC and STATUS; `error` is what tuning's end with."""
    return machine(more={"tuning": lambda: Caring(calls, "tuning", error), "portmap": lambda: Caring(calls, "portmap")})
