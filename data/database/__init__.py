"""The database itself: its server, engine, schema, transactions and locks."""
