"""The checks before the service starts."""
