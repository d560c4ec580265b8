"""Other libraries on the same task; each script says what it needs."""
