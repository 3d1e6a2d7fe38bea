"""Mutation of bastion/: every small change of a protection must turn a proof red. See command.py."""
