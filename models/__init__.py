"""PyTorch networks, their configs, and the checkpoint file."""
