"""Measuring: figures, memory, time, flame graphs, and what became slower."""
