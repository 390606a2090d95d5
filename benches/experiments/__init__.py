"""Trainings whose results are kept: hours rather than minutes, so `python -m benches` leaves them out."""
