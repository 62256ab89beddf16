"""The pages: what happened and why, for people. Plain forms; JavaScript only keeps them fresh."""
