"""What is told of bookings, and what waits to be sent."""
