"""The planner: many requests over some dates, the best plan and its bounds."""
