"""Fuzzing: a target is a module with ``fuzz(data: bytes)``, and ``seeds()`` to begin from.

``make fuzz`` searches for inputs that reach new code (atheris, on libFuzzer), as
long as one likes; ``make test`` replays what is kept in ``corpus/`` and tries some
mutations of it, the same ones each time. See ``docs/fuzzing.md``.
"""
