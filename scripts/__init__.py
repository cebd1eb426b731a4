"""Chores of the repository: what `make` runs. Nothing here is imported by the app."""
