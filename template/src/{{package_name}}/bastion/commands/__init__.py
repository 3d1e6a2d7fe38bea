"""The command line: `<service> <noun> <verb>`."""
