"""Periodic work. Each is a sweep: what one run missed, the next one finds."""
