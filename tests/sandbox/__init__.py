"""Tests of the stand-in API, over real sockets."""
