"""What runs bots: a port of three calls, and a module for each kind of runner."""
