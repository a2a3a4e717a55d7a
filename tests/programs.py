"""The daemons of this checkout where every user can read them; the interpreter may lie in a home."""

import os
import sys
import sysconfig
from pathlib import Path

_PLACES = {
    "source": str(Path(__file__).parents[1] / "src"),
    "site": sysconfig.get_paths()["purelib"],
    "python": sys.base_prefix,
}


def mounts(at: Path | str, seen: str = "") -> str:
    """Shell commands that mount what it takes below ``at``, as it is seen under ``seen``."""
    return "\n".join(
        f"mkdir -p {seen}{at}/{name}; mount --bind {source} {seen}{at}/{name}"
        for name, source in _PLACES.items()
    )


def interpreter(at: Path | str) -> list[str]:
    """What starts Python there, with the packages of this checkout."""
    return [
        "env",
        f"PYTHONPATH={at}/source:{at}/site",
        f"LD_LIBRARY_PATH={at}/python/lib",
        "PYTHONDONTWRITEBYTECODE=1",
        f"{at}/python/bin/{Path(os.path.realpath(sys.executable)).name}",
    ]


def command(at: Path | str, daemon: str) -> list[str]:
    """What starts a daemon there."""
    return [*interpreter(at), "-m", f"wakizashi.{daemon}"]
