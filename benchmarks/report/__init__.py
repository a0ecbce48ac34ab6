"""The report of benchmarks, as pages."""
