"""Registered clients and users, and the pages the server serves."""
