"""Readers of text from outside. They import nothing of this service."""
