"""Keys, and what is signed or encrypted with them."""
