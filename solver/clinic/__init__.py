"""The domain: a clinic, its rows and bookings, its local time, and what a date looks like."""
