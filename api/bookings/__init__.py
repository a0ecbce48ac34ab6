"""Bookings and holds over HTTP."""
