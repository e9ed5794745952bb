"""Shared parts of the consumer tests: reporting, the outer namespace, host-side servers, choice of the library.

Only the Python standard library is used. Nothing here knows which consumer (slirp4netns, QEMU) is being tested.
"""
