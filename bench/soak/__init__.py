"""``make soak``: whether probe and center stay as large as they are. See ``docs/fuzzing.md``."""
