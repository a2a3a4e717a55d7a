"""The packaged tools that we measure ourselves against, each with settings in its favour.

All have a buffer of 32 MiB for packets where they let one choose it, take the
first 128 bytes of a packet, and are not promiscuous; that is what ours do.
"""

import csv
import io
import re
import signal
import sys
from pathlib import Path

from bench.capture import empty_tap
from bench.capture.lab import TAPPED, Program, run, wait_for
from bench.capture.results import EMPTY_TAP, FLOWS, Account
from bench.capture.tools import Settings, Tool, number_after, number_before

SNAP_BYTES = 128
BUFFER_BYTES = 32 * 1024 * 1024


class Tcpdump(Tool):
    """``tcpdump -w /dev/null``: not an accounting tool, but what libpcap costs at least."""

    name = "tcpdump"
    ready = "listening on"

    def version(self) -> str:
        """Of tcpdump, and of libpcap, which the other two use as well."""
        return version_in(
            run("tcpdump", "--version", any_exit=True), "tcpdump version", "libpcap version"
        )

    def command(self, folder: Path, settings: Settings) -> list[str]:
        """Nothing is written but into the void."""
        return [
            *("tcpdump", "-i", TAPPED, "-n", "-p", "-s", str(SNAP_BYTES)),
            *("-B", str(BUFFER_BYTES // 1024), "-w", "/dev/null"),
        ]

    def account(self, program: Program, folder: Path) -> Account:
        """What it prints at its end."""
        program.stop()
        return tcpdump_account(program.output())


class EmptyTap(Tool):
    """A filter that takes nothing: the floor under every tool that taps, ``empty_tap.py``."""

    name = EMPTY_TAP
    ready = "tapping"

    def command(self, folder: Path, settings: Settings) -> list[str]:
        """A program of our own, without the product."""
        return [sys.executable, "-I", empty_tap.__file__, TAPPED]

    def account(self, program: Program, folder: Path) -> Account:
        """What the device's counters say: the tap itself counts nothing."""
        program.stop()
        return Account(number_before("packets passed", program.output()))


def tcpdump_account(text: str) -> Account:
    """From the three lines of tcpdump's end."""
    return Account(
        seen_packets=number_before("packets captured", text),
        dropped_packets=number_before("packets dropped by kernel", text),
    )


class Pmacctd(Tool):
    """pmacctd with its memory plugin, by source and destination address."""

    name = "pmacctd"
    ready = "waiting for data on"

    def version(self) -> str:
        """Of pmacctd."""
        return version_in(run("pmacctd", "-V", any_exit=True), "Accounting Daemon, pmacctd")

    def command(self, folder: Path, settings: Settings) -> list[str]:
        """A table of more buckets than flows, memory without limit, a large queue between the two.

        Its capture buffer can't be set; a queue with small buffers drains sooner.
        """
        path = folder / "pmacctd.conf"
        path.write_text(
            f"daemonize: false\npcap_interface: {TAPPED}\npromisc: false\nsnaplen: {SNAP_BYTES}\n"
            "aggregate[all]: src_host,dst_host\nplugins: memory[all]\n"
            f"imt_path[all]: {folder / 'pmacctd.pipe'}\nimt_buckets[all]: 65537\n"
            "imt_mem_pools_number[all]: 0\nimt_mem_pools_size[all]: 1048576\n"
            "plugin_pipe_size[all]: 67108864\nplugin_buffer_size[all]: 65536\n"
        )
        return ["pmacctd", "-f", str(path)]

    def account(self, program: Program, folder: Path) -> Account:
        """The sums of its table, and libpcap's statistics from its log."""
        table = run("pmacct", "-p", str(folder / "pmacctd.pipe"), "-s", "-O", "csv")
        # To the core process alone: what the kernel dropped.
        program.popen.send_signal(signal.SIGUSR1)
        wait_for("pmacctd's statistics", lambda: "dropped_packets=" in program.output())
        program.stop()
        return pmacctd_account(table, program.output())


def pmacctd_account(table: str, log: str) -> Account:
    """From ``pmacct -s -O csv`` and the log.

    What is lost between its two processes, when the second one can't follow, is in neither.
    """
    rows = list(csv.DictReader(io.StringIO(table)))
    return Account(
        seen_packets=sum(int(row["PACKETS"]) for row in rows),
        seen_bytes=sum(int(row["BYTES"]) for row in rows),
        dropped_packets=number_after("dropped_packets=", log),
    )


class Softflowd(Tool):
    """softflowd, tracking by address; nothing is exported, which spares it that."""

    name = "softflowd"
    ready = "starting data collection"

    def version(self) -> str:
        """Of softflowd."""
        return version_in(run("softflowd", "-h", any_exit=True), "softflowd version")

    def command(self, folder: Path, settings: Settings) -> list[str]:
        """More flows than are sent, so that none is evicted."""
        return [
            *("softflowd", "-i", TAPPED, "-d", "-N", "-T", "ip", "-C", str(SNAP_BYTES)),
            *("-m", str(2 * max(FLOWS)), "-B", str(BUFFER_BYTES)),
            *("-p", str(folder / "softflowd.pid"), "-c", str(folder / "softflowd.ctl")),
        ]

    def account(self, program: Program, folder: Path) -> Account:
        """What ``softflowctl`` says."""
        text = run("softflowctl", "-c", str(folder / "softflowd.ctl"), "statistics")
        program.stop()
        return softflowd_account(text)


def softflowd_account(text: str) -> Account:
    """From ``softflowctl statistics``."""
    return Account(
        seen_packets=number_after("Packets processed:", text),
        dropped_packets=number_after("Packets dropped by libpcap:", text),
    )


def version_in(text: str, *before: str) -> str:
    """The words after each of ``before``, as ``4.99.3, libpcap 1.10.3``."""
    found = []
    for mark in before:
        match = re.search(rf"{re.escape(mark)} (\d[^\s,]*\w)", text)
        found.append(match[1] if match else "unknown")
    return ", libpcap ".join(found)
