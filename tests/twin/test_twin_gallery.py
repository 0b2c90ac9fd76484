"""Every scenario of the gallery runs on this machine's kernel and in the emulator, and both give the same frames."""

from __future__ import annotations

from pathlib import Path

import pytest

import emu.scenario.gallery
from emu.scenario.gallery import story
from emu.scenario.script import load
from emu.twin import judge
from twins import agrees, needs_twin

pytestmark = needs_twin
GALLERY = sorted(Path(emu.scenario.gallery.__path__[0]).glob("*.yaml"))


# stories that no kernel judges here, and the reason that the report gives
UNDECIDED = {
    "calico-ipip": "the twin makes no ipip (tunl0)",
    "dns-takes-five-seconds": "cluster.cpus",
    # nodes of the twin are namespaces, and this limit is the machine's
    "conntrack-table-full": "net.netfilter.nf_conntrack_max cannot be set",
}
# A segment made by hand has the sequence numbers of the emulator's connection. The kernel's has others.
OWN_NUMBERS = {"invalid-and-reset"}


@pytest.mark.parametrize(
    "path", [path for path in GALLERY if path.stem not in {*UNDECIDED, *OWN_NUMBERS}], ids=lambda path: path.stem
)
def test_the_kernel_agrees(path: Path) -> None:
    agrees(path, "gallery")


@pytest.mark.parametrize("name", UNDECIDED)
def test_what_cannot_be_judged_is_reported(name: str) -> None:
    report = judge(load(story(name)))
    assert report.exit_status == 3
    assert UNDECIDED[name] in "\n".join([report.undecided, *(each.what for each in report.unjudged)])
