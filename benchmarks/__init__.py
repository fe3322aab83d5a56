"""Measurements that a README's numbers come from; each is one command, and none is a test."""
