"""The service: app.py puts its features together, settings.py names its settings, bastion/ protects it."""
