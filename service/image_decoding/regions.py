"""Regions of a photo, as detectors give them: their forms, and the crops that are cut out for them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from service.errors import Problem, ServiceError

Quad = list[list[float]]
"""The corners (x, y) of the crop, in pixels of the upright photo, clockwise from where the text begins. A
pixel reaches from its number to the next: 0, 0 is the photo's corner.
"""

MOST_POINTS = 64
_FARTHEST = 1e6
_LEAST_SIDE = 2
_LARGEST_CROP = 1 << 17
"""Pixels. A larger crop is cut from the photo at half its size, or a quarter: the network sees 32 x 128."""
_LEAST_INSIDE = 0.5
_MARGIN = 3
"""Pixels around a region that interpolation uses, and one for rounding."""


def quad_of(points: Sequence[Sequence[float]]) -> Quad:
    """The corners of the crop for the outline of a text. Raises ServiceError if it is no region.

    Four points are corners in the order of the text: its upper left, upper right, lower right, lower left.
    For more points, or four that are not convex, it is the smallest rectangle around them.
    """
    if not 4 <= len(points) <= MOST_POINTS:
        raise _bad(f"The region has {len(points)} points; it takes 4 to {MOST_POINTS}.")
    if not all(math.isfinite(value) and abs(value) <= _FARTHEST for point in points for value in point):
        raise _bad("A coordinate of the region is no number, or far beyond any photo.")
    outline = np.array(points, np.float64)
    if _crosses_itself(outline):
        raise _bad("The region's outline crosses itself: put its points in order around the text.")
    area = _area(outline)
    if not area:
        raise _bad("The region has no area.")
    if len(outline) > 4 or not cv2.isContourConvex(outline.astype(np.float32)):
        outline = _rectangle_around(outline)
    elif area < 0:  # they go around the other way: the text would be mirrored
        outline = outline[[0, 3, 2, 1]]
    quad: Quad = outline.tolist()
    width, height = size_of(quad)
    if min(width, height) < _LEAST_SIDE:
        raise _bad(f"The region is {width:.3g} x {height:.3g} pixels: too small for a text.")
    return quad


def size_of(quad: Quad) -> tuple[float, float]:
    """Width and height of the crop in pixels: the longer one of each two opposite sides."""
    one, two, three, four = quad
    return (
        max(math.dist(one, two), math.dist(four, three)),
        max(math.dist(two, three), math.dist(one, four)),
    )


def pixels_of_cuts(quads: Sequence[Quad]) -> int:
    """About how many pixels are computed to cut these regions."""
    sizes = (size_of(quad) for quad in quads)
    return sum(min(int(width * height), _LARGEST_CROP) for width, height in sizes)


class Photo:
    """A photo to cut crops out of: RGB pixels (height, width, 3), uint8."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._levels = [pixels]

    def cut(self, quad: Quad) -> np.ndarray:
        """The straightened crop of a region (height, width, 3), uint8, at the size that it has in the photo.

        A crop of more than 131,072 pixels is cut from the photo at half its size, and so on. Beyond the
        photo's edge, the edge is repeated. Raises ServiceError if more than half lies there.
        """
        full_height, full_width = self._levels[0].shape[:2]
        corners = np.array(quad, np.float32)
        if _share_within(corners, full_width, full_height) < _LEAST_INSIDE:
            raise _bad(
                f"Less than half of the region is in the photo, which is {full_width} x {full_height}."
            )
        halvings = max(0, math.ceil(math.log2(math.prod(size_of(quad)) / _LARGEST_CROP) / 2))
        level = self._level(halvings)
        height, width = level.shape[:2]
        corners *= np.array([width / full_width, height / full_height], np.float32)
        # Only the part around it, because OpenCV warps no image of more than 32,767 pixels a side.
        left, top = np.clip(np.floor(corners.min(axis=0)) - _MARGIN, 0, [width - 1, height - 1]).astype(int)
        right, bottom = np.clip(np.ceil(corners.max(axis=0)) + _MARGIN, 1, [width, height]).astype(int)
        size = [max(1, round(side)) for side in size_of(corners.tolist())]
        straight = np.array([[0, 0], [size[0], 0], size, [0, size[1]]], np.float32)
        # For OpenCV the middle of the first pixel is 0, 0.
        source = corners - np.array([left, top], np.float32) - 0.5
        transform = cv2.getPerspectiveTransform(source, straight - np.float32(0.5))
        crop: np.ndarray = cv2.warpPerspective(
            np.ascontiguousarray(level[top:bottom, left:right]),
            transform,
            size,
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return crop

    def _level(self, halvings: int) -> np.ndarray:
        while len(self._levels) <= halvings:
            height, width = self._levels[-1].shape[:2]
            half = ((width + 1) // 2, (height + 1) // 2)
            self._levels.append(cv2.resize(self._levels[-1], half, interpolation=cv2.INTER_AREA))
        return self._levels[halvings]


def _bad(detail: str) -> ServiceError:
    return ServiceError(Problem.BAD_REGION, detail)


def _area(outline: np.ndarray) -> float:
    """The signed area: positive if the points (N, 2) go around clockwise, with y downwards."""
    following = np.roll(outline, -1, axis=0)
    return 0.5 * float(np.sum(outline[:, 0] * following[:, 1] - following[:, 0] * outline[:, 1]))


def _crosses_itself(outline: np.ndarray) -> bool:
    """Whether two sides that do not meet at a corner cross: points (N, 2)."""
    ends = np.roll(outline, -1, axis=0)

    def sides(points: np.ndarray) -> np.ndarray:
        """The side of each edge (rows) on which each point (columns) lies."""
        along, away = (ends - outline)[:, None], points[None] - outline[:, None]
        sign: np.ndarray = np.sign(along[..., 0] * away[..., 1] - along[..., 1] * away[..., 0])
        return sign

    parted = sides(outline) * sides(ends) < 0
    return bool((parted & parted.T).any())


def _rectangle_around(outline: np.ndarray) -> np.ndarray:
    """Corners of the smallest rectangle; its first side is the one that points most to the right."""
    corners = cv2.boxPoints(cv2.minAreaRect(outline.astype(np.float32)))
    if _area(corners) < 0:
        corners = corners[::-1]
    sides = np.roll(corners, -1, axis=0) - corners
    rightward = sides[:, 0] / np.maximum(np.hypot(sides[:, 0], sides[:, 1]), 1e-9)
    # Of two sides at 45 degrees, the first in the rectangle's own order.
    first = int(rightward.round(6).argmax())
    ordered: np.ndarray = corners[[(first + step) % 4 for step in range(4)]].astype(np.float64)
    return ordered


def _share_within(corners: np.ndarray, width: int, height: int) -> float:
    """The share of a convex region's area that lies within the photo."""
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    area = cv2.contourArea(corners)
    return cv2.intersectConvexConvex(corners, frame)[0] / area if area else 0.0
