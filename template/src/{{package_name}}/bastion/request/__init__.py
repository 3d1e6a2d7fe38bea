"""The checks that each request passes on its way to the view."""
