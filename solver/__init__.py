"""Scheduling rules, masks, the CP-SAT model and the checker: no database, no web, no clock."""
