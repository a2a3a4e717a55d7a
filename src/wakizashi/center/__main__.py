"""``python -m wakizashi.center``."""

from wakizashi.center.cli import main

main()
