"""A small Google and Microsoft for demo and tests: same paths, bodies and errors. The service never imports it."""
