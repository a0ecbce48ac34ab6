"""Upper bounds on what any plan reaches."""
