"""The REST API: what clients see of the store. It calls no platform, and nothing below it knows of HTTP."""
