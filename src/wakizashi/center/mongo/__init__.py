"""What the backend ``mongodb`` is made of."""
