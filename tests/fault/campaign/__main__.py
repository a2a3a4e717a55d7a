"""Many runs, side by side. What was run is remembered, so that it can be gone on with.

Each run is a line of ``build/campaign/COMMIT.jsonl``; a seed that stands there is not run
again. Give seeds to run these alone, and see all that happened in them.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tests.fault.campaign.run import record
from tests.fault.campaign.table import table

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "build" / "campaign"


def commit() -> str:
    """The tree that is tested: a commit, and whether it was changed since."""
    command = ("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def load(path: Path) -> dict[int, dict[str, Any]]:
    """The runs of a file, by seed."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["seed"]: line for line in lines}


def campaign(seeds: list[int], jobs: int, path: Path) -> None:
    """Run the seeds that were not run, ``jobs`` of them at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    left = [seed for seed in seeds if seed not in load(path)]
    print(f"{len(seeds) - len(left)} of {len(seeds)} runs are in {path}; {len(left)} to go")
    began = time.monotonic()
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(jobs, spawn, max_tasks_per_child=1) as pool,
        path.open("a", buffering=1) as out,
    ):
        futures = [pool.submit(record, seed) for seed in left]
        for done, future in enumerate(as_completed(futures), 1):
            line = future.result()
            out.write(json.dumps(line) + "\n")
            verdict = line["verdict"]
            print(
                f"{done}/{len(left)} seed {line['seed']}: "
                + ("adds up" if line["good"] else f"DOES NOT ADD UP, see {line['folder']}")
                + f", {line['seconds']} s, {verdict['sent']} bytes"
                + "".join(f"\n    {finding[-300:]}" for finding in verdict["findings"][:4]),
                flush=True,
            )
    print(f"{len(left)} runs in {(time.monotonic() - began) / 60:.1f} minutes")


def main() -> int:
    """Exit code 1 if a run did not add up."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.campaign", description=__doc__)
    parser.add_argument("seed", type=int, nargs="*", help="run these alone, and tell everything")
    parser.add_argument("--runs", type=int, default=20, help="seeds 1 to RUNS")
    parser.add_argument("--jobs", type=int, default=3, help="runs at a time")
    arguments = parser.parse_args()
    if arguments.seed:
        lines = [record(seed) for seed in arguments.seed]
        for line in lines:
            print(json.dumps({k: v for k, v in line.items() if k != "log"}, indent=1))
            print("\n".join(line["log"]))
    else:
        path = FOLDER / f"{commit()}.jsonl"
        seeds = list(range(1, arguments.runs + 1))
        campaign(seeds, arguments.jobs, path)
        known = load(path)
        lines = [known[seed] for seed in seeds]
        print(table(lines, commit()))
    return int(not all(line["good"] for line in lines))


if __name__ == "__main__":
    sys.exit(main())
