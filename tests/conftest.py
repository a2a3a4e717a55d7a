"""What all tests share: the servers they need, and scapy's manners."""

from hypothesis import settings

# By default Hypothesis fails an example that takes 0.2 s: on a busy machine any may.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest_plugins = [
    "tests.center_servers",
    "tests.e2e.images",
    "tests.mongo_servers",
    "tests.namespaces",
    "tests.redis_servers",
]
