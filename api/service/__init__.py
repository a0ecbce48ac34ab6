"""The service as a whole: how it is put together, set, logged and measured."""
