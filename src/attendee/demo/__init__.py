"""`attendee demo`: the whole of it on one machine, shown by a story. `story.py` tells it."""
