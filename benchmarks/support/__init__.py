"""What suites share: clinics, a service to measure, and those who call it."""
