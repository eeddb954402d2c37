"""Pixels decoded and rendered, in processes of their own."""
