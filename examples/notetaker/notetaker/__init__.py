"""Notetaker: people pick which of their meetings get notes. The reference application of `attendee`."""
