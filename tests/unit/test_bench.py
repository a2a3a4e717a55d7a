"""The parts of ``bench/capture`` that are functions of values. No figure is asserted anywhere."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from bench.capture.cpu import busy, parse_stat
from bench.capture.engines import probe_account
from bench.capture.measure import describe
from bench.capture.paced import HEADER_BYTES
from bench.capture.peers import (
    pmacctd_account,
    softflowd_account,
    tcpdump_account,
    version_in,
)
from bench.capture.report import markdown
from bench.capture.results import (
    CASES,
    NO_TAP,
    TOP,
    Account,
    BenchError,
    Case,
    Results,
    Run,
    load,
    select_cases,
)
from bench.capture.summary import Figure, figure, rows, softirq_is_charged
from bench.capture.traffic import checksum, headers, trafgen_config
from wakizashi import wire
from wakizashi.files import WindowDirectory
from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, Tally, Window

CASE = Case(TOP, 64, 1_024)

# -- what the tools say, as they said it ------------------------------------------------------

TCPDUMP = """\
tcpdump: listening on tap0, link-type EN10MB (Ethernet), snapshot length 128 bytes
1000000 packets captured
1000012 packets received by filter
12 packets dropped by kernel
"""

PMACCT = """\
SRC_IP,DST_IP,PACKETS,BYTES
10.1.3.230,10.0.0.1,977,48850
10.1.1.191,10.0.0.1,977,48850
10.1.3.125,10.0.0.1,976,48800
"""
PMACCTD = """\
INFO ( default/core ): Reading configuration file 'pmacctd.conf'.
INFO ( default/core ): [tap0,0] link type is: 1
INFO ( all/memory ): plugin_pipe_size=67108864 bytes plugin_buffer_size=65536 bytes
OK ( all/memory ): waiting for data on: 'pmacctd.pipe'
NOTICE ( default/core ): +++
NOTICE ( default/core ): stats [tap0,0] time=1795510512 received_packets=1000000 dropped_packets=7
NOTICE ( default/core ): ---
"""

SOFTFLOWD = """\
softflowd[10384]: Accumulated statistics since 2026-11-24T08:55:21 UTC:
Number of active flows: 1024
Packets processed: 999920
Fragments: 0
Ignored packets: 0 (0 non-IP, 0 too short)
Flows expired: 0 (0 forced)
Flows exported: 0 (0 records) in 0 packets (0 failures)
Packets received by libpcap: 1000000
Packets dropped by libpcap: 3
Packets dropped by interface: 0
"""


def test_tcpdump_says_what_it_saw() -> None:
    assert tcpdump_account(TCPDUMP) == Account(1_000_000, None, 12)


def test_pmacctd_says_what_it_saw() -> None:
    assert pmacctd_account(PMACCT, PMACCTD) == Account(2_930, 146_500, 7)


def test_softflowd_says_what_it_saw() -> None:
    assert softflowd_account(SOFTFLOWD) == Account(999_920, None, 3)


@pytest.mark.parametrize("text", ["", "softflowd: no such file", TCPDUMP[:80]])
def test_a_tool_that_says_nothing_of_the_kind_is_a_failed_run(text: str) -> None:
    for parse in (tcpdump_account, softflowd_account):
        with pytest.raises(BenchError, match="nothing like"):
            parse(text)
    with pytest.raises(BenchError, match="nothing like"):
        pmacctd_account(PMACCT, text)


def test_versions() -> None:
    said = "tcpdump version 4.99.3\nlibpcap version 1.10.3 (with TPACKET_V3)\n"
    assert version_in(said, "tcpdump version", "libpcap version") == "4.99.3, libpcap 1.10.3"
    assert version_in("This is softflowd version 1.1.0. Valid", "softflowd version") == "1.1.0"
    assert version_in("what?", "trafgen") == "unknown"


def test_the_probe_is_counted_by_its_windows(tmp_path: Path) -> None:
    directory = WindowDirectory(tmp_path, key="d", limit_bytes=2**30, limit_key="l")
    directory.open()
    for number in (1, 2):
        flows = tuple(
            Flow(0, Direction.TRANSIT, bytes([10, 1, 0, last]), bytes(4), 640, 10)
            for last in range(3)
        )
        ledger = Ledger(dropped=Tally(5, 320))
        window = Window(
            "bench",
            1_700_000_000_000 + number * 1000,
            1_700_000_001_000 + number * 1000,
            number,
            (),
            (DeviceLedger("tap0", b"", ledger),),
            flows,
        )
        directory.write("bench", window.start_ms, number, wire.encode(window))
    directory.close()
    assert probe_account(tmp_path) == Account(60, 3_840, 10)


# -- clocks -----------------------------------------------------------------------------------

STAT = """\
cpu  1000 10 2000 90000 100 5 300 40 0 0
cpu0 500 5 1000 45000 50 3 150 20 0 0
cpu1 500 5 1000 45000 50 2 150 20 0 0
intr 1 2 3
ctxt 12345
"""


def test_proc_stat_in_seconds() -> None:
    times = parse_stat(STAT, ticks=100)
    assert times.cpus == 2
    assert (times.sampled, times.idle, times.steal) == pytest.approx((33.15, 901.0, 0.4))


def test_busy_is_what_is_neither_idle_nor_stolen() -> None:
    before = parse_stat(STAT, ticks=100)
    after = replace(before, idle=before.idle + 12.0, steal=before.steal + 0.5)
    assert busy(before, after, wall_seconds=10.0) == pytest.approx(2 * 10.0 - 12.5)


# -- what is sent -----------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_many_flows_as_the_case_says(case: Case) -> None:
    heads = headers(case)
    assert len({head[26:34] for head in heads}) == len(heads) == case.flows
    for head in heads[:20]:
        assert len(head) == HEADER_BYTES
        assert checksum(head[14:34]) == 0
        assert struct.unpack("!H", head[16:18])[0] == case.frame - 14


def test_trafgen_gets_whole_frames() -> None:
    lines = trafgen_config(Case(TOP, 1400, 10)).decode().splitlines()
    assert len(lines) == 10
    assert all(line.startswith("{ 0x02, ") and line.endswith(" }") for line in lines)
    assert all(f"fill(0x00, {1400 - HEADER_BYTES})" in line for line in lines)


def test_cases_by_pattern() -> None:
    assert select_cases("64/1024/top") == (CASE,)
    assert select_cases("*/10/*, 64/10/top") == tuple(case for case in CASES if case.flows == 10)
    for wrong in ("64", "65/*/*", "64/1024/slow", ""):
        with pytest.raises(BenchError, match="names no case"):
            select_cases(wrong)


# -- figures ----------------------------------------------------------------------------------


def made(tool: str, repetition: int, seen: int | None, **figures: float) -> Run:
    """A run of a million packets in two seconds."""
    run = Run(
        tool=tool,
        case=CASE,
        repetition=repetition,
        sent_packets=1_000_000,
        sent_bytes=64_000_000,
        account=None if seen is None else Account(seen, None, 0),
        generator_seconds=1.99,
        busy_seconds=2.1,
        wall_seconds=8.0,
        sending_seconds=2.0,
    )
    return replace(run, **figures)  # type: ignore[arg-type]  # floats all


def series() -> Results:
    """Two repetitions: a base, a tool that counts all, one that counts half, one that fails once."""
    runs = []
    for repetition in range(2):
        more = 0.2 * repetition
        runs += [
            made(NO_TAP, repetition, None),
            made(
                "ring", repetition, 1_000_000,
                tool_seconds=0.4, generator_seconds=2.19 + more, busy_seconds=2.8,
            ),
            made("pmacctd", repetition, 500_000, tool_seconds=1.0, busy_seconds=3.3),
        ]  # fmt: skip
    runs += [Run("softflowd", CASE, 0, fault="softflowd ended with 1: no | such device")]
    runs += [made("softflowd", 1, 999_920, tool_seconds=0.3)]
    runs += [Run("ebpf", CASE, n, fault="CAP_BPF is missing") for n in range(2)]
    settings: dict[str, int | float | bool] = {"rate": 100_000, "charged_share": 0.97}
    return Results({"kernel": "6.1", "cores": "2"}, {"ring": "1.0"}, settings, runs)


def test_median_and_spread() -> None:
    assert figure([]) is None
    assert figure([3.0, 1.0, 2.0]) == Figure(2.0, 1.0, 3.0)
    assert figure([1.0, 2.0]) == Figure(1.5, 1.0, 2.0)


def test_costs_are_per_counted_packet_and_beyond_the_base_of_the_same_repetition() -> None:
    by_tool = {row.tool: row for row in rows(series())}
    ring, pmacctd = by_tool["ring"], by_tool["pmacctd"]
    assert ring.process is not None
    assert ring.process.median == pytest.approx(0.4)
    assert ring.all_in is not None
    assert (ring.all_in.low, ring.all_in.high) == pytest.approx((0.6, 0.8))
    assert ring.machine is not None
    assert ring.machine.median == pytest.approx(0.7)
    assert pmacctd.process is not None
    assert pmacctd.process.median == pytest.approx(2.0)
    assert pmacctd.lost == Figure(0.5, 0.5, 0.5)
    assert by_tool[NO_TAP].all_in is None


def test_where_softirq_is_accounted_apart_all_in_is_the_machine() -> None:
    results = series()
    assert softirq_is_charged(results)
    assert any(row.all_in != row.machine for row in rows(results))
    results.settings["charged_share"] = 0.6
    assert not softirq_is_charged(results)
    for row in rows(results):
        assert row.tool == NO_TAP or row.all_in == row.machine


def test_without_a_base_there_is_no_all_in() -> None:
    results = series()
    results.runs = [run for run in results.runs if run.tool != NO_TAP]
    assert all(row.all_in is None for row in rows(results))
    assert "| **ring** | 500 | 0.40 (0.40–0.40) | – | – | 0 | 0 |" in markdown(results)


def test_the_table_shows_every_tool_and_every_failure() -> None:
    text = markdown(series())
    assert "| 1,024 | no tap | 500 | – | – | (2.10 in all) | – | – |" in text
    assert "| 1,024 | **ring** | 500 | 0.40 (0.40–0.40) | 0.70 (0.60–0.80) |" in text
    assert "| 50.0 % | 0 |" in text
    assert "| 1,024 | **ebpf** | failed: CAP_BPF is missing |" in text
    assert r"(failed in part of 2: softflowd ended with 1: no \| such device)" in text
    tables = [line for line in text.splitlines() if line.startswith("| 1,024")]
    assert {line.replace(r"\|", "").count("|") for line in tables} == {9}


def test_a_run_in_one_line() -> None:
    assert describe(made("ring", 0, 999_990, tool_seconds=0.4)) == (
        "ring: 500 kpps, busy 2.10 µs a packet, tool 0.400 µs, 10 not seen"
    )
    assert describe(Run("ebpf", CASE, 0, fault="no")) == "ebpf: no"


def test_results_come_back_from_their_file(tmp_path: Path) -> None:
    results = series()
    results.save(tmp_path / "deep" / "capture.json")
    assert load(tmp_path / "deep" / "capture.json") == results
    (tmp_path / "other.json").write_text('{"format": 99}')
    for wrong in ("other.json", "none.json"):
        with pytest.raises(BenchError, match="make bench-capture"):
            load(tmp_path / wrong)


def test_the_same_results_are_the_same_picture() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extras bench and dev")
    from bench.capture.plot import draw

    picture = draw(series())
    assert picture == draw(series())
    for text in ("wakizashi ring", "pmacctd", "loses up to 50 %", "no figures: see the table"):
        assert text in picture
