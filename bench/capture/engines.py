"""Our own probe, with each of its engines: the real command, and the windows it leaves.

No center listens, so the windows wait in ``dumpDir``; the probe's attempts to
deliver them are in its figures.
"""

import json
import sys
from pathlib import Path

import wakizashi
from bench.capture.lab import TAPPED, Program
from bench.capture.results import Account, BenchError
from bench.capture.tools import Settings, Tool
from wakizashi import wire
from wakizashi.files import WindowDirectory
from wakizashi.model import Tally
from wakizashi.probe.capture import engine_names, load_engine

_NAME = "bench"


class Probe(Tool):
    """``probe`` with one engine."""

    ready = f"{_NAME}: engine"

    def __init__(self, engine: str) -> None:
        self.name = self._engine = engine

    def version(self) -> str:
        """The product's."""
        return wakizashi.__version__

    def obstacle(self) -> str | None:
        """Why this host does not permit the engine."""
        try:
            return load_engine(self._engine).obstacle()
        except ImportError as error:
            return f"{error}; pip install it"

    def command(self, folder: Path, settings: Settings) -> list[str]:
        """The probe with as little configuration as it takes."""
        path = folder / "probe-config.yaml"
        path.write_text(
            json.dumps(  # JSON is YAML
                {
                    "name": _NAME,
                    "capture": self._engine,
                    "networkDevs": [TAPPED],
                    "capInterval": settings.interval,
                    "centerAddr": "127.0.0.1:9",
                    "dumpDir": str(folder / "dump"),
                    "uploadRetry": 0,
                }
            )
        )
        return [sys.executable, "-m", "wakizashi.probe", "-c", str(path)]

    def account(self, program: Program, folder: Path) -> Account:
        """The sum of its windows, the last of which it closes on SIGTERM, and of their ledgers."""
        program.stop()
        return probe_account(folder / "dump")


def probe_account(dump: Path) -> Account:
    """The sum over the windows that wait in a dump directory."""
    directory = WindowDirectory(dump, key="dumpDir", limit_bytes=2**40, limit_key="dumpLimit")
    directory.open()
    try:
        flows = Tally()
        dropped = 0
        for entry in directory.pending():
            chunks = directory.read(entry)
            if chunks is None:
                raise BenchError(f"a window can't be read: {directory.moved_to_bad}")
            window = wire.decode(chunks)
            for flow in window.flows:
                flows += Tally(flow.packets, flow.size)
            dropped += sum(device.ledger.dropped.packets for device in window.devices)
        return Account(flows.packets, flows.bytes, dropped)
    finally:
        directory.close()


def probes() -> list[Tool]:
    """One for each engine of this release."""
    return [Probe(name) for name in engine_names()]
