"""Edges: every further attack on the protections that tests/proofs prove, laid over a service as proofs.edges."""
