"""Many runs, side by side. What was run is remembered, so that it can be gone on with.

Each run is a line of ``build/campaign/COMMIT.jsonl``; a seed that stands there is not run
again.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tests.fault.campaign.run import record
from tests.fault.campaign.table import table, write

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "build" / "campaign"
FINDINGS = 20


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


def campaign(seeds: list[int], jobs: int, path: Path | None = None) -> list[dict[str, Any]]:
    """Run seeds, ``jobs`` of them at a time; their lines, also appended to ``path``."""
    lines = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, max_tasks_per_child=1) as pool:
        for future in as_completed([pool.submit(record, seed) for seed in seeds]):
            line = future.result()
            lines.append(line)
            if path is not None:
                with path.open("a") as out:
                    out.write(json.dumps(line) + "\n")
            print(f"{len(lines)}/{len(seeds)} {tell(line)}", flush=True)
    return lines


def tell(line: dict[str, Any]) -> str:
    """A run in a few words; all that is known, if it does not add up."""
    verdict = line["verdict"]
    text = f"seed {line['seed']}: {verdict['sent']} bytes sent, {line['seconds']} s: "
    if line["good"]:
        return text + "adds up"
    findings = "".join(f"\n    {finding}" for finding in verdict["findings"][:FINDINGS])
    log = "".join(f"\n    {entry}" for entry in line["log"])
    return f"{text}DOES NOT ADD UP; files in {line['folder']}{findings}{log}"


def main() -> int:
    """Exit code 1 if a run did not add up."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.campaign", description=__doc__)
    parser.add_argument("seed", type=int, nargs="*", help="run these, whatever was run before")
    parser.add_argument("--runs", type=int, default=20, help="seeds 1 to RUNS")
    parser.add_argument("--jobs", type=int, default=4, help="runs at a time")
    parser.add_argument("--json", action="store_true", help="print the runs as they are kept")
    parser.add_argument("--write", type=Path, help="a document to write the table into")
    arguments = parser.parse_args()
    if arguments.seed and arguments.json:
        lines = [record(seed) for seed in arguments.seed]
        print("\n".join(json.dumps(line) for line in lines))
        return int(not all(line["good"] for line in lines))
    if arguments.seed:
        lines = campaign(arguments.seed, arguments.jobs)
    else:
        FOLDER.mkdir(parents=True, exist_ok=True)
        path = FOLDER / f"{commit()}.jsonl"
        seeds = range(1, arguments.runs + 1)
        left = [seed for seed in seeds if seed not in load(path)]
        print(f"{len(seeds) - len(left)} of {len(seeds)} runs are in {path}; {len(left)} to go")
        campaign(left, arguments.jobs, path)
        known = load(path)
        lines = [known[seed] for seed in seeds]
        print(text := table(lines, commit()))
        if arguments.write:
            write(arguments.write, "results", text)
    good = sum(line["good"] for line in lines)
    print(f"{good} of {len(lines)} runs add up")
    return int(good < len(lines))


if __name__ == "__main__":
    sys.exit(main())
