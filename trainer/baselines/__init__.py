"""Priors that the flow is compared with."""
