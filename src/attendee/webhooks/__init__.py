"""Who should hear of it: deliveries written where the news is made, and sent afterwards until they arrive."""
