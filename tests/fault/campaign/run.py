"""One run, from a seed to a verdict."""

import os
import tempfile
import threading
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.fault.campaign import faults, second
from tests.fault.campaign.oracle import Verdict, judge
from tests.fault.campaign.packets import ADDRESSES, Slice, sums
from tests.fault.campaign.schedule import Schedule, Strike, schedule
from tests.fault.campaign.world import World

CERTAIN = {
    "kept for recovery": Strike(0.0, "influxd_killed", "influxd", 4.0),
    "reposts": Strike(0.0, "influxd_killed", "influxd", 4.0),
    "reconnects": Strike(0.0, "balancer_killed", "haproxy", 3.0),
    "redeliveries": Strike(0.0, "redelivered", "a", 0.0),
    "duplicate writes": Strike(0.0, "redelivered", "a", 0.0),
}
"""What must be seen in every run, and the fault that shows it when nothing else disturbs."""


@dataclass(slots=True)
class Result:
    """What came of one run."""

    seed: int
    schedule: Schedule
    seconds: float
    verdict: Verdict
    evidence: dict[str, int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    folder: str = ""
    """Where its logs and files are, if it did not go well."""

    @property
    def good(self) -> bool:
        return self.verdict.good


def run(seed: int) -> Result:
    """Let the schedule of a seed happen. Never raises for what goes wrong in it."""
    plan = schedule(seed)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"campaign-{seed}-"))
    world = World(plan, folder, f"wk{os.getpid() % 10_000}s{seed}")
    result = Result(seed, plan, 0.0, Verdict(), folder=str(folder))
    try:
        try:
            world.up()
            world.go()
            world.say("traffic goes")
            _let_strike(world, result)
            world.say("all faults are over")
            world.revive()
            for name, certain in CERTAIN.items():
                if not world.evidence()[name]:
                    world.say(f"for want of {name}: {certain}")
                    faults.strike(world, certain)
                    world.wait_drained()
            world.settle()
            accounts = [world.account(host) for host in world.probes]
            trouble = result.verdict.findings
            result.verdict = judge(world.stored, accounts, recreated=world.recreated)
            result.verdict.findings[:0] = trouble
            result.verdict.findings += second.faults(
                world.stored,
                balances=not (world.recreated or plan.steps_clocks)
                and all(len(probe.lives) == 1 for probe in world.probes.values()),
                lost=result.verdict.lost_and_told,
            )
            _check_sent(world, result.verdict)
        except BaseException:
            result.verdict.findings.append(traceback.format_exc())
        result.evidence = world.evidence()
        result.verdict.findings += [
            f"no {name} seen: the faults did not bite"
            for name in CERTAIN
            if not result.evidence[name]
        ]
    finally:
        world.down()
        result.seconds = time.monotonic() - began
        result.log = world.log
    if not result.good:
        for name, text in world.logs().items():
            result.log.append(f"--- {name}\n{text}")
    else:
        world.forget()
        result.folder = ""
    return result


def _let_strike(world: World, result: Result) -> None:
    """Start each fault at its time; return when all are healed."""
    began = time.monotonic()
    threads = []

    def one(strike: Strike) -> None:
        try:
            world.say(f"begins: {strike}")
            faults.strike(world, strike)
            world.say(f"healed: {strike}")
        except BaseException:
            result.verdict.findings.append(f"{strike}: {traceback.format_exc()}")

    for strike in world.schedule.strikes:
        time.sleep(max(0.0, began + strike.at - time.monotonic()))
        thread = threading.Thread(target=one, args=(strike,), name=strike.fault)
        thread.start()
        threads.append(thread)
    time.sleep(max(0.0, began + world.schedule.seconds - time.monotonic()))
    for thread in threads:
        thread.join()


def _check_sent(world: World, verdict: Verdict) -> None:
    """The generator's account against the counters of the veth pair."""
    parts = [Slice(host, 0, world.controls[host].sent) for host in ADDRESSES]
    sent = sum(size for part in parts for size, _ in sums(world.schedule.seed, part).values())
    passed = world.ground.passed()
    if sent != passed:
        verdict.findings.append(f"{sent} bytes were sent, and {passed} passed the device")


def record(seed: int) -> dict[str, Any]:
    """Run a seed; the line that remembers it."""
    result = run(seed)
    return {
        "seed": seed,
        "good": result.good,
        "seconds": round(result.seconds, 1),
        "folder": result.folder,
        "schedule": asdict(result.schedule),
        "verdict": asdict(result.verdict),
        "evidence": result.evidence,
        "log": [] if result.good else result.log,
    }
