"""Measures a bundle's uncertainty score on held-out episodes and stores the calibration (threshold, quantiles, hash of
the weights it belongs to) in the bundle."""
