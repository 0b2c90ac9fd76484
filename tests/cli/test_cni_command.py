"""`emu cni`: results and errors as plugins print them, exit statuses, and the state file between commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emu.cli import main
from emu.kube.cni.spec import plugins

IPAM = {"type": "host-local", "subnet": "10.9.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
BRIDGE: dict[str, Any] = {"type": "bridge", "isGateway": True, "ipam": IPAM}
LIST = {"cniVersion": "1.1.0", "name": "net", "plugins": [BRIDGE]}

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.conflist").write_text(json.dumps(LIST))
    return tmp_path


class Shell:
    """Commands with one list and one state file."""

    def __init__(self, capsys: Capsys) -> None:
        self.capsys = capsys

    def __call__(self, *words: str, status: int = 0, config: str = "net.conflist", state: str = "state.json") -> Any:
        """What the command printed, as data; None for nothing."""
        assert main(["cni", *words, "-c", config, "--state", state]) == status
        captured = self.capsys.readouterr()
        self.err = captured.err
        return json.loads(captured.out) if captured.out else None


@pytest.fixture
def cni(capsys: Capsys) -> Shell:
    return Shell(capsys)


def test_add_check_del(cni: Shell) -> None:
    result = cni("add", "--container-id", "a")
    assert list(result) == ["cniVersion", "interfaces", "ips", "routes"]
    assert result["ips"] == [{"address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 2}]
    assert [each.get("sandbox") for each in result["interfaces"]] == [None, None, "/var/run/netns/a"]
    assert cni("check", "--container-id", "a") is None
    assert cni("add", "--container-id", "b", "--netns", "/run/netns/blue")["ips"][0]["address"] == "10.9.0.3/24"
    assert cni("del", "--container-id", "a") is None
    assert cni("del", "--container-id", "a", "--netns", "") is None
    lost = {"code": 999, "msg": "host-local: Failed to find address added by container a"}
    assert cni("check", "--container-id", "a", status=1) == lost
    assert cni("check", "--container-id", "b", "--netns", "blue") is None
    assert cni.err == ""


def test_the_same_calls_print_the_same(cni: Shell) -> None:
    first, second = (cni("add", "--container-id", "a", state=name) for name in ("one", "two"))
    assert first == second
    assert Path("one").read_bytes() == Path("two").read_bytes()


def test_as_plugins_print(capsys: Capsys) -> None:
    assert main(["cni", "version"]) == 0
    assert capsys.readouterr().out.startswith('{\n    "cniVersion": "1.1.0",\n    "supportedVersions": [\n')
    assert main(["cni", "add", "-c", "net.conflist"]) == 1
    text = 'plugin type=\\"bridge\\" failed (add): missing containerID'
    assert capsys.readouterr().out == f'{{\n    "code": 3,\n    "msg": "{text}"\n}}\n'


def test_a_failed_add_leaves_what_the_plugin_leaves(cni: Shell) -> None:
    """The DEL after it ends at the plugin that is not there: the bridge's part stays until the next DEL."""
    assert cni("add", "--container-id", "a", "--args", "NO=1", status=1)["code"] == 999
    Path("two.conflist").write_text(json.dumps({**LIST, "plugins": [BRIDGE, {"type": "nosuch"}]}))
    error = cni("add", "--container-id", "a", status=1, config="two.conflist")
    assert error["msg"].startswith('plugin type="nosuch" failed (add): failed to find plugin "nosuch": emu has ')
    assert all(kind in error["msg"] for kind in plugins), "those that there are"
    assert "already exists" in cni("add", "--container-id", "a", status=1)["msg"]
    assert cni("del", "--container-id", "a") is None
    assert cni("add", "--container-id", "a")["ips"][0]["address"] == "10.9.0.3/24"


def test_gc_keeps_what_is_valid(cni: Shell) -> None:
    for name in ("a", "b"):
        cni("add", "--container-id", name)
    assert cni("gc", "--valid", "b/eth0") is None
    assert cni("check", "--container-id", "a", status=1)["code"] == 999
    assert cni("check", "--container-id", "b") is None
    assert cni("gc", "--valid", "b", status=2) is None
    assert "'b' is not an attachment (expected --valid CONTAINER/INTERFACE)" in cni.err


def test_status_and_version(cni: Shell) -> None:
    assert cni("status") is None
    assert cni("version")["supportedVersions"][0] == "0.1.0"
    Path("two.conflist").write_text(json.dumps({**LIST, "plugins": [BRIDGE, {"type": "nosuch"}]}))
    for command in ("status", "version"):
        assert 'failed to find plugin "nosuch": emu has ' in cni(command, config="two.conflist", status=1)["msg"]
    assert not Path("state.json").exists()


def test_capabilities_versions_and_args(cni: Shell) -> None:
    capable = {**BRIDGE, "capabilities": {"mac": True}}
    Path("old.conflist").write_text(json.dumps({**LIST, "cniVersion": "0.3.1", "plugins": [capable]}))
    mac = "02:00:00:00:00:07"
    words = ("add", "--container-id", "a", "--ifname", "net1", "--args", "IgnoreUnknown=1;K8S_POD_NAME=web")
    result = cni(*words, "--capability-args", json.dumps({"mac": mac, "ips": ["10.9.0.9"]}), config="old.conflist")
    assert result["cniVersion"] == "0.3.1"
    assert result["interfaces"][2] == {"name": "net1", "mac": mac, "sandbox": "/var/run/netns/a"}
    assert result["ips"][0]["version"] == "4"
    code = cni("check", "--container-id", "a", config="old.conflist", status=1)
    assert code == {"code": 1, "msg": 'configuration version "0.3.1" does not support the CHECK command'}
    assert cni("add", "--container-id", "a", "--capability-args", "[]", status=2) is None
    assert "--capability-args cannot be read" in cni.err


def test_a_folder_of_configurations(cni: Shell, folder: Path) -> None:
    (folder / "net.d").mkdir()
    (folder / "net.d" / "20-b.conf").write_text(json.dumps({"cniVersion": "1.0.0", "name": "b", **BRIDGE}))
    (folder / "net.d" / "10-a.conflist").write_text(json.dumps({**LIST, "name": "a"}))
    assert cni("add", "--container-id", "x", config="net.d")["cniVersion"] == "1.1.0"
    assert cni("add", "--container-id", "y", "--name", "b", config="net.d")["cniVersion"] == "1.0.0"
    cni("add", "--container-id", "y", "--name", "c", config="net.d", status=2)
    assert "net.d: no network configuration has the name 'c' (expected a, b)" in cni.err


def test_what_is_no_state_file_stays(cni: Shell) -> None:
    for text, what in (
        ("hello", "is no state of emu cni: JSON is malformed"),
        ('{"calls": 5}', "is no state of emu cni: Expected `array`"),
        ('{"format": "other"}', "its format is 'other' (expected emu-cni/v1)"),
        ('{"calls": [{"command": "add", "config": {}}]}', "name: the network has no name"),
    ):
        Path("state.json").write_text(text)
        assert cni("add", "--container-id", "a", status=2) is None
        assert f"state.json: {what}" in cni.err
        assert Path("state.json").read_text() == text


def test_what_is_not_modelled_is_undecided_and_changes_nothing(cni: Shell) -> None:
    cni("add", "--container-id", "a")
    before = Path("state.json").read_bytes()
    Path("odd.conflist").write_text(
        json.dumps({**LIST, "plugins": [{**BRIDGE, "ipMasqBackend": "nftables", "ipMasq": True}]})
    )
    assert cni("add", "--container-id", "b", config="odd.conflist", status=3) is None
    assert Path("state.json").read_bytes() == before


def test_remarks_and_wrong_options(cni: Shell, capsys: Capsys) -> None:
    Path("odd.conflist").write_text(json.dumps({**LIST, "plugins": [{**BRIDGE, "isGateWay": True}]}))
    assert cni("add", "--container-id", "a", config="odd.conflist")["ips"]
    assert cni.err == 'note: plugin bridge: unknown key "isGateWay" (expected "isGateway"?)\n'
    assert cni("add", "--container-id", "a", "--netns", "a/b", status=2) is None
    assert "'a/b' is not a namespace" in cni.err
    assert main(["cni", "add"]) == 2
    assert "no network configuration is named" in capsys.readouterr().err
