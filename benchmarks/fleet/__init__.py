"""A simulated fleet: many clinics on several machines."""
