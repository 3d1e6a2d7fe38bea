"""Keys, and the values that are signed or encrypted with them."""
