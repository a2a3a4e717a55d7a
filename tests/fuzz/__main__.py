"""``python -m tests.fuzz [--target NAME] [--seconds N] [FILE…]``: search, or replay files."""

import argparse
import importlib
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).parent / "corpus"
"""Inputs in the repository: those that found a defect, and a few that reach far."""
FOUND = ROOT / "build" / "fuzz"
"""Inputs that reached new code on this machine; the next run begins with them."""
TARGETS = ("ingest", "files", "configuration", "capture_files", "packets")
HANG_SECONDS = 25
MEMORY_MB = 2_048
MAX_BYTES = 2_048


def seed(target: str) -> Path:
    """The folder of found inputs, with the target's seeds in it."""
    folder = FOUND / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(importlib.import_module(f"tests.fuzz.{target}").seeds()):
        (folder / f"seed-{number:03d}").write_bytes(data)
    return folder


def run(target: str, seconds: int) -> bool:
    """Fuzz one target; whether it found nothing."""
    kept = KEPT / target
    kept.mkdir(parents=True, exist_ok=True)
    before = set(kept.iterdir())
    log = FOUND / f"{target}.log"
    folder = seed(target)
    began = time.monotonic()
    with log.open("wb") as out:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.engine", target),
                *(str(folder), str(kept), f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}"),
                *(
                    f"-timeout={HANG_SECONDS}",
                    f"-report_slow_units={HANG_SECONDS}",
                    f"-rss_limit_mb={MEMORY_MB}",
                ),
                *(f"-artifact_prefix={kept}/", "-print_final_stats=1"),
            ],
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    said = log.read_text(errors="replace")
    runs = re.findall(r"^stat::number_of_executed_units: (\d+)", said, re.MULTILINE)
    covered = re.findall(r"cov: (\d+)", said)
    print(
        f"{target}: {runs[-1] if runs else '?'} runs in {time.monotonic() - began:.0f} s, "
        f"coverage {covered[-1] if covered else '?'}, {len(list(folder.iterdir()))} inputs",
        flush=True,
    )
    crashers = sorted(set(kept.iterdir()) - before)
    if done.returncode == 0 and not crashers:
        return True
    shown = said[said.find("=== Uncaught Python exception") :] if "=== Unc" in said else said
    print(f"{shown[-4_000:]}\n{target}: exit {done.returncode}; all of it is in {log}")
    for crasher in crashers:
        print(f"replay it: {sys.executable} -m tests.fuzz --target {target} {crasher}")
    return False


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=300, help="for each target")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="replay, not search")
    options = parser.parse_args()
    if options.files:
        if not options.target:
            parser.error("name the --target that the files are for")
        for file in options.files:
            importlib.import_module(f"tests.fuzz.{options.target}").fuzz(file.read_bytes())
            print(f"{file}: fine")
        return
    targets = [options.target] if options.target else TARGETS
    faults = sum(not run(target, options.seconds) for target in targets)
    sys.exit(min(faults, 1))


if __name__ == "__main__":
    main()
