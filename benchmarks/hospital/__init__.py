"""A hospital: 300,000 bookings ahead, under load and edited."""
