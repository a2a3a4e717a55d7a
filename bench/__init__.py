"""Measurements: what the product costs, beside what its peers cost."""
