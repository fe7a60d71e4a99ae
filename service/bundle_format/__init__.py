"""The format of a bundle on disk: `export` writes it, the service and its engines read it.

A leaf like `image_files`: it imports nothing of the project, so that `export` and `models` can use it without
the rest of the service, and it runs on Python 3.7.
"""
