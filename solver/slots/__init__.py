"""The slot query: every feasible placement of one request on one date, best first."""
