"""The published training loops, written anew from their description, to measure this project by.

Straightforward PyTorch in the published order of work; nothing is slower on purpose.
"""
