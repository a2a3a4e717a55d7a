"""What the backend ``redis`` is made of."""
