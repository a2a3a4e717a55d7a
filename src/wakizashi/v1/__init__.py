"""Generated from ``proto/wakizashi/v1/traffic.proto`` by ``make generate``; only this line is not."""
