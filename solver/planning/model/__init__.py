"""The planning model: one CP-SAT model of a problem, or of a neighbourhood of it."""
