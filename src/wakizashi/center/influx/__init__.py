"""What the backend ``influxdb`` is made of."""
