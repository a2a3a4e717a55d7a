"""``python -m tests.fuzz.engine TARGET CORPUS… [-OPTION=VALUE…]``: libFuzzer on one target.

A process of its own, for libFuzzer ends the one that it runs in.
"""

import contextlib
import importlib
import logging
import sys

INSTRUMENTED = ["wakizashi", "yaml", "scapy.utils"]


def main() -> None:
    import atheris

    _, target, *options = sys.argv
    with atheris.instrument_imports(include=INSTRUMENTED):
        module = importlib.import_module(f"tests.fuzz.{target}")
    logging.getLogger("wakizashi").setLevel(logging.CRITICAL + 1)  # what is refused is logged
    with contextlib.redirect_stdout(sys.stderr):
        atheris.Setup([sys.argv[0], *options], module.fuzz)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
