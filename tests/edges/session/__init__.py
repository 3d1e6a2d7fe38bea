"""Edges of services with auth=session."""
