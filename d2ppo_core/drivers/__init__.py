"""Drivers of real hardware; the vendor's library is imported when a driver connects, not before."""
