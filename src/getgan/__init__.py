"""getgan: take a trained GET-GAN generator into the ultrasound room."""

__version__ = "0.1.0"
