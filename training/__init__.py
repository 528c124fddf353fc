"""GET-GAN's five training steps, the data they learn from, and the evaluation of what they made."""
