"""Capture engines, one module each, found by listing this folder (see ``capture.engines``)."""
