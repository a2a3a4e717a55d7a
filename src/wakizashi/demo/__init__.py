"""The whole pipeline on one machine, with something to see."""
