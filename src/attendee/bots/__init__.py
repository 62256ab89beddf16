"""Bots follow their events, and fall due when their meetings begin."""
