"""A capture of Retina shows a node as tools/collect's files do; what it holds besides is one note."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from emu.errors import InputError
from emu.kube.api.loader import load, load_text
from emu.kube.cluster import Cluster
from emu.kube.live.read import read as read_export
from emu.pasted.node_texts import NodeTexts, node_texts
from exports import Shape, export
from node_dumps_made import Dumped, dump_of, write
from retina_made import retina_of, write_folder, write_tar

NODE = "node-001"
UNREAD = ("cap-node-1-20260101000000UTC.pcap", "proc-net (2 files)", "socket-stats.txt", "tcpdump.log")


@cache
def shown() -> tuple[str, Dumped]:
    text = json.dumps(export(Shape("kubeadm", 4)))
    read = read_export(load_text(text, "dump.json"))
    return text, dump_of(Cluster(read.config, read.objects, capture=False), NODE)


def with_node(texts: NodeTexts) -> Cluster:
    read = read_export(load_text(shown()[0], "dump.json"))
    return Cluster(replace(read.config, dumps={NODE: texts}), read.objects, capture=False)


def _dump(tmp_path: Path, made: Dumped) -> Path:
    return write(made, tmp_path / "node")


def _folder(tmp_path: Path, made: Dumped) -> Path:
    return write_folder(retina_of(made), tmp_path / "capture")


def _tar(tmp_path: Path, made: Dumped) -> Path:
    return write_tar(retina_of(made), tmp_path / "capture.tar.gz")


def faulty() -> Dumped:
    """Chain FORWARD drops, a route to a node's pods is gone, and the kernel does not forward."""
    made = dict(shown()[1])
    made["iptables-save"] = made["iptables-save"].replace(":FORWARD ACCEPT", ":FORWARD DROP")
    made["ip-route"] = "".join(
        line for line in made["ip-route"].splitlines(keepends=True) if not line.startswith("10.244.2.0/24")
    )
    made["sysctl"] = made["sysctl"].replace("net.ipv4.ip_forward = 1", "net.ipv4.ip_forward = 0")
    return made


@pytest.mark.parametrize("place", [_folder, _tar])
@pytest.mark.parametrize("made", [lambda: shown()[1], faulty], ids=["healthy", "faulty"])
def test_it_shows_the_node_that_its_own_files_show(
    tmp_path: Path, place: Callable[[Path, Dumped], Path], made: Callable[[], Dumped]
) -> None:
    own, capture = (node_texts(each(tmp_path, made())) for each in (_dump, place))
    assert {*capture.texts} == {*own.texts} - {"ipset-save", "ip-link", "bridge-fdb"}
    assert capture.unread == UNREAD
    found, expected = (
        [(each.id, each.what, each.device) for each in with_node(texts).differences] for texts in (capture, own)
    )
    assert found == expected
    assert bool(found) is (made is faulty)


def test_a_difference_names_the_file_and_the_line_in_the_capture(tmp_path: Path) -> None:
    texts = node_texts(_folder(tmp_path, faulty()))
    places = {each.id: each.place for each in with_node(texts).differences}
    file, _, line = places["node-chain-policy"].rpartition(":")
    assert file == str(tmp_path / "capture" / "iptables-rules.txt")
    assert Path(file).read_text().splitlines()[int(line) - 1].startswith(":FORWARD DROP")
    assert places["node-sysctl"] == str(tmp_path / "capture" / "proc-sys-net" / "ipv4" / "ip_forward")


def test_what_is_not_read_is_one_note(tmp_path: Path) -> None:
    cluster = with_node(node_texts(_tar(tmp_path, shown()[1])))
    found = [each for each in cluster.warnings if each.endswith(": not read")]
    assert found == [f"{tmp_path / 'capture.tar.gz'}: {', '.join(UNREAD)}: not read"]


def test_the_sysctl_of_an_interface_with_a_dot_keeps_it(tmp_path: Path) -> None:
    made = {
        **shown()[1],
        "sysctl": "net/ipv4/conf/eth0.100/rp_filter = 1\nnet.ipv4.ip_local_port_range = 32768\t60999\n",
    }
    text = node_texts(_folder(tmp_path, made)).text("sysctl")
    assert {*text.splitlines()} == {
        "net/ipv4/conf/eth0.100/rp_filter = 1", "net.ipv4.ip_local_port_range = 32768 60999"
    }  # fmt: skip


def test_two_of_one_command_are_refused(tmp_path: Path) -> None:
    folder = write({"ip-rule": "0:\tfrom all lookup local\n"}, _folder(tmp_path, shown()[1]))
    with pytest.raises(InputError, match="ip-rule is there twice"):
        node_texts(folder)


def test_a_command_that_failed_has_no_text(tmp_path: Path) -> None:
    files = retina_of({**shown()[1], "iptables-save": ""})
    assert "iptables-save" not in node_texts(write_folder(files, tmp_path / "capture"))


def test_manifests_are_not_looked_for_in_it(tmp_path: Path) -> None:
    tar = _tar(tmp_path, shown()[1])
    with pytest.raises(InputError, match=r"are what a node shows \(expected --node NAME=.*capture\.tar\.gz"):
        load([str(tar)])
    with pytest.raises(InputError, match=r"are what a node shows \(expected --node NAME=.*capture\b"):
        load([str(_folder(tmp_path, shown()[1]))])
