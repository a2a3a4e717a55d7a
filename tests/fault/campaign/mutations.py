"""The product broken on purpose: what notices?

    python -m tests.fault.campaign.mutations [NAME…]

Each mutation is made in a copy of the tree. Then the tests that guard the place are run,
and the short campaign, until one of its runs does not add up; a table tells what noticed.
Exit code 1 if a mutation went unnoticed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.fault.campaign.daemons import REPOSITORY
from tests.fault.campaign.schedule import covering


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


MUTATIONS: tuple[Mutation, ...] = ()


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
    """What the first run of the short campaign that does not add up tells; empty if all do."""
    environment = os.environ | {"PYTHONPATH": f"{tree}/src:{tree}"}
    for seed in covering():
        command = [sys.executable, "-m", "tests.fault.campaign", "--json", str(seed)]
        done = subprocess.run(
            command, cwd=tree, env=environment, check=False, capture_output=True, text=True
        )
        line = json.loads(done.stdout.splitlines()[-1])
        if not line["good"]:
            shutil.rmtree(line["folder"], ignore_errors=True)
            verdict = line["verdict"]
            told = (verdict["findings"] or [""])[0].strip().splitlines()[-1]
            return (
                f"seed {seed}: {verdict['missing']:,} bytes missing, "
                f"{verdict['spurious']:,} spurious; {told[:100]}"
            )
    return ""


def main() -> int:
    """Exit code 1 if a mutation went unnoticed."""
    wanted = sys.argv[1:]
    rows = []
    for mutation in MUTATIONS:
        if wanted and mutation.name not in wanted:
            continue
        with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
            tree = copy(Path(folder))
            mutation.apply(tree)
            test = failed_test(tree, mutation.tests)
            finding = campaign_finding(tree)
        rows.append((mutation.name, test, finding))
        print(f"| {mutation.name} | {test or '-'} | {finding or '-'} |", flush=True)
    return int(any(not (test or finding) for _, test, finding in rows))


if __name__ == "__main__":
    sys.exit(main())
