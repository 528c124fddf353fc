"""getgan: take a trained GET-GAN generator into the ultrasound room."""

from getgan.offline import silence_libraries

__version__ = "0.1.0"

silence_libraries()
