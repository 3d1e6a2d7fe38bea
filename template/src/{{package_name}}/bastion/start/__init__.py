"""What is checked before the service starts."""
