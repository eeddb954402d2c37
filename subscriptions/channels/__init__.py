"""Channels: how a notification reaches who asked for it; the only place that speaks to others."""
