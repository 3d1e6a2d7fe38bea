"""Composing and sending the mails that wait in the outbox."""
