"""Drawings and tables of days, weeks and runs."""
