"""Unit tests of bastion's modules and of the proofs' harness, laid over a service as proofs.bastion."""
