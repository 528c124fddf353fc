"""In what pictures differ from those of the calibration, and since when."""
