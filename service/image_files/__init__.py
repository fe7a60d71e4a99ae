"""The strict check of image files, and their decoding, for all code that decodes other people's pictures.

A leaf: it imports nothing else of the project, and needs Python 3.7.
"""

from service.image_files.decode import MOST_PIXELS, decode, finished, look_within, pixels_of
from service.image_files.look import DECODERS, format_of, is_installed, look
from service.image_files.structure import BrokenImage, NotAnImage, Picture, TooManyPixels
from service.image_files.upright import upright_size

__all__ = [
    "DECODERS",
    "MOST_PIXELS",
    "BrokenImage",
    "NotAnImage",
    "Picture",
    "TooManyPixels",
    "decode",
    "finished",
    "format_of",
    "is_installed",
    "look",
    "look_within",
    "pixels_of",
    "upright_size",
]
