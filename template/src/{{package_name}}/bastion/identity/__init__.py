"""Users, passwords and sessions, without a word of HTTP: both styles, the command line and the proofs use it alike."""
