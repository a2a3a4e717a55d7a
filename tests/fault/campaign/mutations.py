"""The product broken on purpose: what notices?

    python -m tests.fault.campaign.mutations [--write FILE] [NAME…]

Each mutation is made in a copy of the tree. Then the tests that guard the place are run,
and the short campaign, until bytes are missing or spurious in it; a table tells what noticed.
Exit code 1 if a mutation went unnoticed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.fault.campaign.daemons import REPOSITORY
from tests.fault.campaign.schedule import covering
from tests.fault.campaign.table import write


@dataclass(frozen=True, slots=True)
class Mutation:
    """One place of the product, and how it is broken."""

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, tree: Path) -> None:
        """Break the product in a copy of the tree. Raises ValueError where it is not as it was."""
        file = tree / "src" / "wakizashi" / self.path
        text = file.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: not once in {self.path}: {self.old}")
        file.write_text(text.replace(self.old, self.new))


MUTATIONS = (
    Mutation(
        "a center acknowledges before the window is stored",
        "center/store.py",
        "        if self._writer.pause_seconds == 0:\n            try:\n",
        "        self._finish(group, Outcome(Status.STORED))\n"
        "        if self._writer.pause_seconds == 0:\n            try:\n",
        ("tests/unit/test_store.py", "tests/fault/test_center.py"),
    ),
    Mutation(
        "a file is acknowledged before its fsync",
        "filesystem.py",
        "            os.fsync(descriptor)\n        finally:\n            os.close(descriptor)\n\n    def read",
        "        finally:\n            os.close(descriptor)\n\n    def read",
        ("tests/unit/test_files.py", "tests/property/test_files_crash.py"),
    ),
    Mutation(
        "a file is acknowledged before its directory's fsync",
        "shelf.py",
        "            if renamed:\n                self._fs.sync_directory(self.path)\n",
        "            if renamed:\n                pass\n",
        ("tests/unit/test_files.py", "tests/property/test_files_crash.py"),
    ),
    Mutation(
        "an InfluxDB that refuses the password counts as written",
        "center/backends/influxdb.py",
        "        except TooLarge:\n",
        "        except Retryable as error:\n"
        '            if "refuses it" not in str(error):\n'
        "                raise\n"
        "        except TooLarge:\n",
        ("tests/unit/test_influxdb_lines.py", "tests/contract/test_influxdb.py"),
    ),
    Mutation(
        "Redis: HINCRBY instead of HSET",
        "center/redis/hashes.py",
        '        commands += [("HSET", key, *fields), ("PEXPIREAT", key, start_ms + ttl_ms)]',
        "        pairs = zip(fields[::2], fields[1::2], strict=True)\n"
        '        commands += [("HINCRBY", key, *pair) for pair in pairs]\n'
        '        commands += [("PEXPIREAT", key, start_ms + ttl_ms)]',
        ("tests/unit/test_redis.py", "tests/contract/test_backends.py"),
    ),
    Mutation(
        "a window's start is used again when the clock goes back",
        "probe/window.py",
        "self.start_ms = max(now.wall_ms, last_start_ms + 1)",
        "self.start_ms = now.wall_ms",
        ("tests/unit/test_window.py", "tests/property/test_window.py"),
    ),
    Mutation(
        "a window's start is used again while the probe runs",
        "probe/window.py",
        "        following = max(aligned, self.start_ms + 1)\n",
        "        following = aligned\n",
        ("tests/unit/test_window.py", "tests/property/test_window.py"),
    ),
    Mutation(
        "numbers begin again at every start",
        "probe/loop.py",
        "self._number = last_number + 1",
        "self._number = 1",
        ("tests/unit/test_loop.py", "tests/unit/test_app.py", "tests/fault/test_probe.py"),
    ),
    Mutation(
        "own traffic is not left out",
        "probe/watch.py",
        "tap = self._engine.open(device, self._limits, self._endpoints)",
        "tap = self._engine.open(device, self._limits, frozenset())",
        ("tests/unit/test_loop.py", "tests/live/test_devices.py"),
    ),
    Mutation(
        "two states swapped: a window leaves the dump directory before its ack",
        "probe/transmit.py",
        "                if ack.status == pb.WINDOW_STATUS_STORED:\n",
        "                if ack.status != pb.WINDOW_STATUS_REJECTED:\n",
        ("tests/unit/test_transmit.py",),
    ),
    Mutation(
        "two states swapped: a recovery file is removed before it is posted",
        "center/repost.py",
        "            isolated = await self._writer.write(windows)\n",
        "            for entry in entries:\n"
        "                await asyncio.to_thread(self._recovery.done, entry)\n"
        "            isolated = await self._writer.write(windows)\n",
        ("tests/unit/test_store.py", "tests/fault/test_center.py"),
    ),
    Mutation(
        "a window that the disk did not take is forgotten",
        "probe/loop.py",
        "            self._windows.postpone(moment)\n        else:\n",
        "            self._builder.reset(snapshot.addresses)\n"
        "            self._windows.next(moment)\n        else:\n",
        ("tests/unit/test_loop.py", "tests/unit/test_app.py", "tests/fault/test_probe.py"),
    ),
    Mutation(
        "windows are merged that a center may have",
        "probe/backlog.py",
        "            self._fresh.pop(entry.name, None)\n            return True\n",
        "            return True\n",
        ("tests/unit/test_merging.py", "tests/property/test_merging_crash.py"),
    ),
    Mutation(
        "what was merged stays after a crash",
        "probe/backlog.py",
        "        return {o.entry.name for o in whole if any(one.covers(o.entry) for one in merged)}\n",
        "        return set()\n",
        ("tests/property/test_merging_crash.py",),
    ),
    Mutation(
        "a device that goes takes with it what was not read yet",
        "probe/watch.py",
        "        self._drain(watched.tap)\n        self._engine.cut()\n",
        "        self._engine.cut()\n",
        ("tests/unit/test_loop.py", "tests/live/test_devices.py"),
    ),
)


def copy(folder: Path) -> Path:
    """The tracked files of this tree, and the environment beside them."""
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    for name in filter(None, done.stdout.split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, target)
    return folder


def failed_test(tree: Path, tests: tuple[str, ...]) -> str:
    """The first test that fails; empty if none does."""
    environment = os.environ | {"PYTHONPATH": f"{tree}/src:{tree}"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        command, cwd=tree, env=environment, check=False, capture_output=True, text=True
    )
    failed = re.search(r"^(?:FAILED|ERROR) \S*?([^/\s:]+\.py::\S+)", done.stdout, re.MULTILINE)
    if done.returncode == 1 and failed:
        return failed[1]
    if done.returncode != 0:
        raise RuntimeError(f"the tests did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return ""


def campaign_finding(tree: Path) -> str:
    """What the short campaign tells of bytes that are missing or spurious, else of anything else."""
    environment = os.environ | {"PYTHONPATH": f"{tree}/src:{tree}"}
    other = ""
    for seed in covering():
        command = [sys.executable, "-m", "tests.fault.campaign", "--json", str(seed)]
        done = subprocess.run(
            command, cwd=tree, env=environment, check=False, capture_output=True, text=True
        )
        line = json.loads(done.stdout.splitlines()[-1])
        if line["good"]:
            continue
        shutil.rmtree(line["folder"], ignore_errors=True)
        verdict = line["verdict"]
        if verdict["missing"] or verdict["spurious"]:
            return f"seed {seed}: {verdict['missing']:,} bytes missing, {verdict['spurious']:,} spurious"
        told = (verdict["findings"] or [""])[0].strip().splitlines()[-1]
        other = other or f"seed {seed}: {told[:90]}"
    return other


def try_out(mutation: Mutation) -> tuple[str, str, str]:
    """The row of a mutation: its name, the test that failed, what the campaign said."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = copy(Path(folder))
        mutation.apply(tree)
        test = failed_test(tree, mutation.tests)
        finding = campaign_finding(tree)
    row = (mutation.name, f"`{test}`" if test else "-", finding or "-")
    print("| {} | {} | {} |".format(*row), flush=True)
    return row


def main() -> int:
    """Exit code 1 if a mutation went unnoticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.campaign.mutations")
    parser.add_argument("name", nargs="*", help="these alone")
    parser.add_argument("--jobs", type=int, default=3, help="mutations at a time")
    parser.add_argument("--write", type=Path, help="a document to write the table into")
    arguments = parser.parse_args()
    chosen = [one for one in MUTATIONS if not arguments.name or one.name in arguments.name]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        rows = list(pool.map(try_out, chosen))
    if arguments.write:
        head = "| mutation | the test that failed | what the campaign said |\n|---|---|---|\n"
        body = "".join("| {} | {} | {} |\n".format(*row) for row in rows)
        write(arguments.write, "mutations", head + body)
    return int(any(row[1:] == ("-", "-") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
