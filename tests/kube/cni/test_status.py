"""STATUS of every plugin: as the reference plugins have it, ready when the plugin for addresses is. None of them has GC."""

from __future__ import annotations

import pytest

from emu.clock import Clock
from emu.kernel import boot
from emu.kube.cni import invoke
from emu.kube.cni.spec import Attachment, CniError, Collecting, Config, Host, Reporting, Result, plugins

# those whose STATUS is that of their IPAM; the second ones are ready without one, too
ASKS = ("bridge", "dummy", "host-device", "ipvlan", "macvlan", "ptp", "vlan")
MAY_HAVE_NONE = ("bridge", "host-device", "ipvlan", "macvlan")
SILENT = ("bandwidth", "firewall", "host-local", "loopback", "portmap", "sbr", "static", "tuning", "vrf")
CONFIG: Config = {"cniVersion": "1.1.0", "name": "net"}


class Unready:
    """A plugin for addresses that is not ready."""

    def add(self, config: Config, attachment: Attachment) -> Result:
        return Result()

    def check(self, config: Config, attachment: Attachment) -> None: ...

    def delete(self, config: Config, attachment: Attachment) -> None: ...

    def status(self, config: Config, host: Host) -> None:
        raise CniError(50, "no address server")


@pytest.fixture
def host() -> Host:
    return Host(boot.namespace(Clock(1), "node"), {**plugins, "unready": Unready})


@pytest.mark.parametrize("kind", ASKS)
def test_a_plugin_is_ready_when_its_ipam_is(kind: str, host: Host) -> None:
    invoke.status(kind, {**CONFIG, "ipam": {"type": "host-local"}}, host)
    with pytest.raises(CniError) as caught:
        invoke.status(kind, {**CONFIG, "ipam": {"type": "unready"}}, host)
    assert (caught.value.code, caught.value.msg) == (50, "no address server")
    with pytest.raises(CniError, match='failed to find plugin "nosuch"'):
        invoke.status(kind, {**CONFIG, "ipam": {"type": "nosuch"}}, host)


@pytest.mark.parametrize("kind", ASKS)
def test_without_an_ipam(kind: str, host: Host) -> None:
    if kind in MAY_HAVE_NONE:
        invoke.status(kind, CONFIG, host)
    else:
        with pytest.raises(CniError, match="no plugin name provided"):
            invoke.status(kind, CONFIG, host)


@pytest.mark.parametrize("kind", SILENT)
def test_a_plugin_without_status_is_ready(kind: str, host: Host) -> None:
    assert not isinstance(plugins[kind](), Reporting)
    invoke.status(kind, {**CONFIG, "ipam": {"type": "unready"}}, host)


@pytest.mark.parametrize("kind", ASKS + SILENT)
def test_no_reference_plugin_has_gc(kind: str, host: Host) -> None:
    assert not isinstance(plugins[kind](), Collecting)
    invoke.gc(kind, {**CONFIG, "cni.dev/valid-attachments": []}, host)
    with pytest.raises(CniError, match="config version does not allow STATUS"):
        invoke.status(kind, {**CONFIG, "cniVersion": "1.0.0"}, host)
