"""Backends, one module each, found by listing this folder (see ``backend.backends``)."""
