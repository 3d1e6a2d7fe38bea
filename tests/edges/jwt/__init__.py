"""Edges of auth=jwt."""
