"""What changed? Asking the platform for it, and comparing its answer with what is stored."""
