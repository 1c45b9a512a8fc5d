"""Tests, in the tree of what they test; `end_to_end` runs whole commands. Everything talks to real servers on free loopback ports."""
