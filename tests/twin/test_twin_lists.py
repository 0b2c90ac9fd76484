"""`emu twin` of several scenarios: the same reports in the same order, whatever runs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emu.cli import main
from emu.kernel.net import ip_forward
from emu.scenario.gallery import stories
from local_dask import scheduler
from twins import TRIES, needs_twin, scenario

pytestmark = needs_twin
Capsys = pytest.CaptureFixture[str]
STEPS = {
    "ping": "- ping: {from: default/client, to: default/web}",
    "udp": '- udp: {from: default/client, to: "svc/web:53", send: hello}',
    "no-frame": "- wait: 1s",
    "tcp": "- tcp: {from: default/client, to: 'svc/web:80', send: hello}",
}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Scenarios of which one has nothing to compare."""
    for name, steps in STEPS.items():
        (tmp_path / f"{name}.yaml").write_text(scenario(steps))
    return [str(tmp_path / f"{name}.yaml") for name in STEPS]


@pytest.fixture(scope="module")
def workers() -> Iterator[str]:
    with scheduler() as address:
        yield address


def become_an_ordinary_user() -> None:
    import emu.twin.lists  # noqa: F401  (who is not root may not read where this lies)

    os.setuid(65534)


def lose_the_tools() -> None:
    os.environ["PATH"] = "/nonexistent"


def printed(capsys: Capsys, *words: str) -> tuple[int, str, str]:
    status = main(["twin", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def alike(capsys: Capsys, words: list[str], *spread: str) -> tuple[int, str, str]:
    """What one process prints, and others print the same. A report states a second try, which a busy machine needs now and then."""
    for _ in range(TRIES):
        alone, other = printed(capsys, *words), printed(capsys, *words, *spread)
        if alone == other:
            break
    assert other == alone
    return alone


@pytest.mark.parametrize("form", ["text", "json"])
def test_processes_give_the_bytes_of_one(form: str, files: list[str], capsys: Capsys) -> None:
    alone = alike(capsys, [*files, "-o", form], "-j", "2")
    if form == "text":
        assert [line.partition(":")[0] for line in alone[1].splitlines() if " frames held " in line] == [*STEPS]


def test_a_difference_is_reported_in_its_place(
    files: list[str], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ip_forward, "decrease_ttl", lambda frame: None)  # the processes fork with it
    files = [files[3], files[0]]
    found = []
    for jobs in ("1", "2"):
        status, out, _ = printed(capsys, *files, "--tries", "1", "-j", jobs)
        # not the frames themselves: the kernel draws other ports and ids each time
        found.append((status, [line for line in out.splitlines() if " frames " in line or ": frames at" in line]))
    assert found[0] == found[1] and found[0][0] == 1
    assert [line for line in found[0][1] if ": frames at node-1/eth0" in line]


@pytest.mark.slow
def test_a_dask_cluster_gives_the_bytes_of_one_process(workers: str, files: list[str], capsys: Capsys) -> None:
    story = str(stories()["pod-to-service"])
    alike(capsys, [*files, story], "--dask", workers)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (become_an_ordinary_user, "the twin needs root"),
        (lose_the_tools, "the twin needs iproute2"),
    ],
    ids=["not root", "no tools"],
)
def test_a_worker_that_cannot_is_one_message(
    change: Callable[[], None], what: str, files: list[str], capsys: Capsys
) -> None:
    with scheduler(1) as address:
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            client.run(change)
        status, out, err = printed(capsys, *files, "--dask", address)
    assert (status, out) == (3, "")
    assert len(err.splitlines()) == 1 and f": {what}" in err
