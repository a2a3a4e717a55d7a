"""``python -m wakizashi``: the command of that name."""

from wakizashi.cli import main

if __name__ == "__main__":
    main()
