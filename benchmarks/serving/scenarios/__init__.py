"""The scenarios, each with its flags (`configure`) and what it measures (`measure`)."""
