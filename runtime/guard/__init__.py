"""What the generator was made for: a picture of anything else gets no face."""
