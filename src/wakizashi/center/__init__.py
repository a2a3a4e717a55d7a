"""The daemon that collects: ingest, aggregate, store."""
