"""Who talks to whom, and how much: a traffic probe and its center."""

__version__ = "0.1.0"
