"""What this build is: version, and for binaries and images also commit and build time."""

import json
from importlib import resources

from wakizashi import __version__


def build_info() -> dict[str, str]:
    """Version, commit and build time (UTC); the latter two are ``unknown`` outside of a build."""
    info = {"version": __version__, "commit": "unknown", "built": "unknown"}
    recorded = resources.files("wakizashi").joinpath("_build.json")
    if recorded.is_file():
        info |= json.loads(recorded.read_text())
    return info


def version_text(program: str) -> str:
    """The one line that ``PROGRAM --version`` prints."""
    info = build_info()
    return f"{program} {info['version']} (commit {info['commit']}, built {info['built']})"
