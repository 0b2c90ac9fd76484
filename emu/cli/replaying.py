"""`emu replay` and `emu rewrite`: a capture into a cluster, or into another capture. Must not know how a packet is replayed or edited."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emu.cli.console import Form, note, progress, show
from emu.cli.outputs import check_writable, is_stdout, scratch
from emu.errors import InputError

if TYPE_CHECKING:
    from emu.capture.reader import Capture
    from emu.wire.edit import Edits
    from emu.wire.record import Record


@dataclass(frozen=True)
class Asked:
    """What `emu replay` was asked for."""

    client: str
    server: str
    maps: Sequence[str]
    at: str
    mode: str
    multiplier: float
    pps: float
    topspeed: bool
    loop: int
    limit: int
    max_sleep_ms: int
    timeout_s: float
    fix: bool
    show: int


def replay_file(
    path: Path, files: Sequence[Path], asked: Asked, edits: Edits, *, namespace: str, nodes: int, network: str,
    form: Form, write: str, force: bool,
) -> int:  # fmt: skip
    """Replay one capture; gives the exit status. Raises InputError."""
    from emu.capture.reader import reading
    from emu.cli.inputs import cluster_of, qualified
    from emu.kube.flow.replay.engine import Replay, Settings
    from emu.kube.flow.replay.hosts import roles
    from emu.kube.flow.spoken import pod
    from emu.report.replay import Collected, exit_status, replay

    check_writable(write, force=force)
    if str(path) != "-":
        with reading(path):
            pass  # a file that is no capture is reported before the cluster is built
    if not (asked.maps or asked.client or asked.server or asked.at):
        raise InputError("no host of the capture is one of the cluster", expected="--from, --to, --map or --at")
    maps = [_qualified(each, namespace) for each in asked.maps]
    roles(maps, "", "")  # a wrong one is reported before the cluster is built
    cluster = cluster_of(files, namespace=namespace, nodes=nodes, network=network, capture=bool(write))
    client, server = (
        pod(cluster, each, namespace) or (qualified(each, namespace) if each else "")
        for each in (asked.client, asked.server)
    )
    wanted = roles(maps, client, server)
    settings = Settings(
        mode=asked.mode,
        multiplier=0.0 if asked.topspeed else asked.multiplier,
        pps=asked.pps,
        max_sleep_ns=asked.max_sleep_ms * 1_000_000,
        timeout_ns=int(asked.timeout_s * 1_000_000_000),
        fix=asked.fix,
        keep=bool(write),
        at=asked.at,
    )
    collected = Collected(asked.show)
    engine = Replay(cluster, wanted, settings, collected, lambda flow: cluster.flows.pop(flow.number, None))
    notes: list[str] = []
    since = 0
    if cluster.capture is not None:
        cluster.capture.stream(scratch(write, Path(write)))
        since = cluster.capture.mark()
    with progress(path.name) as update:
        source = _Records(path, edits, asked.loop, asked.limit, notes)
        totals = engine.run(source, lambda done: update(*source.place(done), f"{done:,} packets"))
    if write and cluster.capture is not None:
        cluster.capture.write(write, since=since, force=force)
    report = replay(str(path), asked.mode, totals, collected, list(dict.fromkeys(notes)))
    for text in report.data["notes"]:
        note(text)
    show(report, form, to_stderr=is_stdout(write))
    return exit_status(totals)


class _Records:
    """The records of a file, `loop` times over, edited, at most `limit`. A later round begins where the one before ended."""

    def __init__(self, path: Path, edits: Edits, loop: int, limit: int, notes: list[str]) -> None:
        self._path, self._edits, self._loop, self._limit, self._notes = path, edits, loop, limit, notes
        self._capture: Capture | None = None

    def __iter__(self) -> Iterator[Record]:
        from emu.capture.reader import reading

        count, offset_ns = 0, 0
        for round_ in range(self._loop):
            if str(self._path) == "-" and round_:
                return
            first_ns = last_ns = None
            with reading(self._path) as capture:
                self._capture = capture
                for record in capture:
                    if self._limit and count >= self._limit:
                        return
                    count += 1
                    first_ns = record.time_ns if first_ns is None else first_ns
                    last_ns = record.time_ns
                    for edited in self._edits.apply(record):
                        yield edited._replace(number=count, time_ns=edited.time_ns + offset_ns)
                self._notes.extend(capture.notes)
            if first_ns is not None and last_ns is not None:
                offset_ns += max(last_ns - first_ns, 0)

    def place(self, done: int) -> tuple[int, int]:
        """How much is done, of how much: bytes of the file, else packets."""
        if self._capture is None or not self._capture.size or self._loop > 1:
            return done, 0
        return self._capture.place(), self._capture.size


def _qualified(text: str, namespace: str) -> str:
    from emu.cli.inputs import qualified

    address, equals, end = text.partition("=")
    return f"{address}={qualified(end, namespace)}" if equals and end else text


def rewrite_file(path: Path, edits: Edits, write: str, *, limit: int, force: bool) -> int:
    """Edit one capture into another one, as pcap; gives the exit status. Raises InputError."""
    from emu.capture import pcap
    from emu.capture.reader import reading

    if not write:
        raise InputError("the edited capture has no file", expected="-w FILE, or -w - for standard output")
    count = 0
    with reading(path) as capture, progress(path.name) as update:
        records = iter(capture)
        first = next(records, None)
        if first is None:
            raise InputError("has no packet", file=str(path))
        with pcap.create(write, epoch_ns=0, force=force, linktype=edits.linktype(first.linktype)) as writer:
            record: Record | None = first
            while record is not None and not (limit and count >= limit):
                count += 1
                if record.linktype != first.linktype:
                    capture.notes.append(f"packet {record.number} has another link type, and is left out")
                else:
                    for edited in edits.apply(record):
                        writer.record(edited.time_ns, edited.data, edited.length)
                if not count % 1024:
                    update(capture.place() or count, capture.size, f"{count:,} packets")
                record = next(records, None)
    for text in [*dict.fromkeys(capture.notes), *edits.notes]:
        note(text)
    return 0


__all__ = ["Asked", "replay_file", "rewrite_file"]
