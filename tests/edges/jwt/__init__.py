"""Those of auth=jwt."""
