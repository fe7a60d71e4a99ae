"""What a bundle says on disk: `export` writes by it, the service and its engines read by it.

A leaf, as `image_files` is one: it imports nothing of the project, so that `export` and `models` use it
without knowing the service, and it runs on Python 3.7.
"""
