"""What all tests share: the servers they need, and scapy's manners."""

pytest_plugins = ["tests.center_servers", "tests.namespaces", "tests.mongo_servers"]
