"""Proofs of the token style alone."""
