"""The daemon that counts: capture, window, dump directory, delivery."""
