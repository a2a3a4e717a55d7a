"""``python -m wakizashi.probe``."""

from wakizashi.probe.cli import main

main()
