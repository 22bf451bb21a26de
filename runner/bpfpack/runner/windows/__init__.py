"""``--every``: what happened in each window of time, by the values of some fields."""
