"""What the SQLite backend is made of: its tables, how they are read, what expires."""
