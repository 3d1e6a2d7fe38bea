"""Proofs of the session style alone."""
