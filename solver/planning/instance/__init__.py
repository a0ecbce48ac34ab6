"""A problem as arrays: candidate placements, their scores, and what is left of each capacity."""
