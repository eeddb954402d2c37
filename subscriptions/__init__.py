"""Subscriptions: what topics fire for whom, and the notifications that say so."""
