"""Consumers: one package for each internal system, and ``runtime``, which runs them all."""
