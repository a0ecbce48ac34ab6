"""Contended weeks in four sizes, kept as files with the best values and bounds known of them."""
