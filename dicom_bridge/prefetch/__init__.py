"""Prefetch: studies are sent ahead to the PACS of who will need them."""
