"""``--filter``, ``--fields`` and ``--unique``: which events are shown, and what of them."""
