"""The web console at ``/console``: pages over the service's own interface, and no rules."""
