"""Labels: a row for each frame of the capture, which agrees with tshark's numbers, and with what the run knows of its flows."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from emu.cli.running import run_files
from emu.errors import InputError
from emu.scenario import label_files
from emu.scenario.labels import COLUMNS, rows
from emu.scenario.run import run
from emu.scenario.script import load_text
from small import scenario
from tshark import Tshark

STEPS = """\
- name: get
  label: web
  tcp: {from: default/client, to: "svc/web:80", send: hello}
- label: echo
  ping: {from: default/client, to: node/node-2}
- name: closed
  udp: {from: default/client, to: "default/web:53", send: x}
- iptables: {node: node-2, rules: "-I FORWARD -p udp -j DROP"}
- name: dropped
  udp: {from: default/client, to: "default/web:53", send: x, timeout: 1s}
- label: out
  tcp: {from: default/client, to: "external:80"}
"""


def labelled() -> list[dict[str, Any]]:
    return list(rows(run(load_text(scenario("labels", STEPS))), "all.pcapng"))


ROWS = labelled()


def of(**wanted: object) -> list[dict[str, Any]]:
    return [row for row in ROWS if all(row[key] == value for key, value in wanted.items())]


def test_every_row_has_every_column_with_its_type() -> None:
    assert ROWS
    assert {tuple((name, type(value)) for name, value in row.items()) for row in ROWS} == {tuple(COLUMNS.items())}
    assert [row["frame"] for row in ROWS] == list(range(1, len(ROWS) + 1))


def test_a_flow_goes_there_and_back_through_nat() -> None:
    web = of(name="get")
    assert {(row["step"], row["label"], row["kind"], row["outcome"]) for row in web} == {(1, "web", "tcp", "delivered")}
    syn = [
        row for row in web if row["cause"] == "a TCP socket sends a segment" and row["interface"] == "default/web/eth0"
    ]
    assert syn[0]["way"] == "there" and syn[1]["way"] == "back"
    assert {row["way"] for row in web} == {"there", "back", ""}
    assert all(row["cause"].startswith("ARP") for row in web if not row["way"])
    seen = {(row["nat"], row["nat_before"], row["nat_after"], row["way"]) for row in web if row["nat"]}
    assert seen == {
        ("DNAT", "10.96.0.10:80", "10.244.2.2:8080", "there"),
        ("un-DNAT", "10.244.2.2:8080", "10.96.0.10:80", "back"),
    }


def test_at_each_end_what_leaves_goes_there_and_what_comes_back() -> None:
    for row in of(name="get", interface="default/client/eth0"):
        assert row["way"] in ("", {"out": "there", "in": "back"}[row["direction"]])
    for row in of(label="out", interface="default/client/eth0"):
        assert row["way"] in ("", {"out": "there", "in": "back"}[row["direction"]])
    assert {row["way"] for row in of(label="out") if row["nat"] == "SNAT"} == {"there"}


def test_a_drop_has_its_reason_and_rule() -> None:
    (drop,) = of(name="dropped", direction="drop")
    assert (drop["verdict"], drop["reason"], drop["rule"]) == ("dropped", "NETFILTER_DROP", "-A FORWARD -p udp -j DROP")
    assert drop["way"] == "there"
    assert {row["verdict"] for row in ROWS if row["direction"] != "drop"} == {"passed"}


def test_an_icmp_error_goes_back() -> None:
    errors = [row for row in of(name="closed") if "ICMP" in row["cause"] or "icmp" in row["cause"]]
    assert errors and {row["way"] for row in errors} == {"back"}
    assert {row["way"] for row in of(label="echo", interface="default/client/eth0", direction="in") if row["way"]} == {
        "back"
    }


def test_frames_of_no_flow_are_background() -> None:
    background = of(flow=0)
    assert {(row["kind"], row["step"], row["label"], row["outcome"]) for row in background} == {
        ("background", 0, "", "")
    }


def test_the_numbers_are_those_of_the_capture(tshark: Tshark, tmp_path: Path) -> None:
    file, capture, table = tmp_path / "labels.yaml", tmp_path / "labels.pcapng", tmp_path / "labels.csv"
    file.write_text(scenario("labels", STEPS), encoding="utf-8")
    run_files([file], tmp_path, write=str(capture), labels=str(table))
    with table.open(newline="", encoding="utf-8") as text:
        found = list(csv.DictReader(text))
    seen = tshark.read(capture, "frame.number", "frame.time_epoch", "frame.interface_name", "frame.comment")
    assert len(found) == len(seen) == len(ROWS)
    for row, each in zip(found, seen, strict=True):
        number, time, interface, comment = (values[0] for values in each.values())
        seconds, _, fraction = time.partition(".")
        assert (row["frame"], row["interface"], row["capture"]) == (number, interface, str(capture))
        assert int(row["time_ns"]) == int(seconds) * 10**9 + int(fraction)
        assert f"flow/hop {row['flow']}/" in comment


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_file_holds_the_rows_and_is_replaced_only_if_it_is_ours(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    assert label_files.write(str(path), COLUMNS, ROWS, force=False) == len(ROWS)
    with path.open(newline="", encoding="utf-8") as text:
        read = list(csv.DictReader(text)) if suffix == ".csv" else [json.loads(line) for line in text]
    assert [{key: COLUMNS[key](value) for key, value in row.items()} for row in read] == ROWS
    label_files.check(str(path), COLUMNS, force=False)
    path.write_text("mine\n", encoding="utf-8")
    with pytest.raises(InputError, match="emu did not write it"):
        label_files.check(str(path), COLUMNS, force=False)
    label_files.check(str(path), COLUMNS, force=True)


def test_parquet_holds_the_rows_or_states_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    try:
        import pyarrow.parquet as parquet  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        with pytest.raises(InputError, match="Parquet needs pyarrow, which is not installed"):
            label_files.check(str(path), COLUMNS, force=False)
        return
    label_files.write(str(path), COLUMNS, ROWS, force=False)
    assert parquet.read_table(path).to_pylist() == ROWS


def test_other_formats_and_classic_pcap_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "labels.yaml"
    file.write_text(scenario("labels", STEPS), encoding="utf-8")
    with pytest.raises(InputError, match=r"names no format of labels \(expected \.csv or \.jsonl or \.parquet\)"):
        run_files([file], tmp_path, labels="labels.xlsx")
    with pytest.raises(InputError, match=r"labels number the frames of all\.pcapng"):
        run_files([file], tmp_path, split="interface", labels=str(tmp_path / "a.csv"))


def test_in_a_folder_the_rows_are_those_of_all_pcapng(tmp_path: Path) -> None:
    file, table = tmp_path / "labels.yaml", tmp_path / "labels.jsonl"
    file.write_text(scenario("labels", STEPS), encoding="utf-8")
    run_files([file], tmp_path / "out", labels=str(table))
    read = [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]
    assert Counter(row["capture"] for row in read) == {str(tmp_path / "out" / "labels" / "all.pcapng"): len(ROWS)}
