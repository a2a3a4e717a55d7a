"""The receive ring of the engine ``ring``: its slots, the kernel's filter before it, the counting."""
