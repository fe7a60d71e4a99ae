"""`abinet doctor`: what this machine can run, and the remedy for each thing that is missing."""
