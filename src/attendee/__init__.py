"""Keeps Google and Microsoft calendars in sync and sends meeting bots to the events in them."""

__version__ = "0.1.0"
