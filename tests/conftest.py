"""What all tests share: the servers they need, and scapy's manners."""

pytest_plugins = [
    "tests.center_servers",
    "tests.mongo_servers",
    "tests.namespaces",
    "tests.redis_servers",
]
