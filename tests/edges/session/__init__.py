"""Those of auth=session."""
