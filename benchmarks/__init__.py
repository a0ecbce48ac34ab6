"""Benchmark suites and their report; run with ``slotwright bench``."""
