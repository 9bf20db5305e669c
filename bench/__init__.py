"""Measurements, each beside its limit and a peer in the same run: `make bench`, or `python -m bench.ingest`."""
