"""Users, passwords and sessions, independent of HTTP: shared by both styles, the command line and the proofs."""
