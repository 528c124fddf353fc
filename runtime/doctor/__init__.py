"""What this machine offers, what of it really works, and how to repair the rest."""
