"""A real PostgreSQL from a wheel, as a child process of the service."""
