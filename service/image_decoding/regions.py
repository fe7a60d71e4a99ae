"""Regions of a photo, as detectors give them: their forms, and the crops that are cut out for them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from service.errors import ProblemType, ServiceError
from service.image_decoding import strips

Outline = list[list[float]]
"""The corners (x, y) of the crop, in pixels of the upright photo, clockwise from where the text begins. More
than four are the edges of curved text, 2n points (see strips.py). A pixel reaches from its number to the
next: 0, 0 is the photo's corner.
"""

MOST_POINTS = 64
_FARTHEST = 1e6
_LEAST_SIDE = 2
_LARGEST_CROP = 1 << 17
"""Pixels. A larger crop is cut from the photo at half its size, or a quarter: the network sees 32 x 128."""
_LEAST_INSIDE = 0.5
_LONGEST = 1 << 14
"""Pixels of a side of a crop, or of the part of the photo that it is cut from; also for this it is halved.
OpenCV warps no image of more than 32,767."""
_MARGIN = 3
"""Pixels around a region that interpolation uses, and one for rounding."""


def outline_of(points: Sequence[Sequence[float]]) -> Outline:
    """The outline of the crop for a text. Raises ServiceError if it is no region.

    Four points are corners in the order of the text: its upper left, upper right, lower right, lower left.
    An even number of more is the upper edge and then the lower one, if they can be; straight edges become
    four corners. Other points, or four that are not convex, are cut as the smallest rectangle around them.
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
    is_curved = len(outline) > 4 and strips.is_strip(outline)
    if is_curved and (corners := strips.corners_if_straight(outline)) is not None:
        outline, is_curved = corners, False
    if len(outline) == 4 and _area(outline) < 0:  # they go around the other way: the text would be mirrored
        outline = outline[[0, 3, 2, 1]]
    if not is_curved and not (len(outline) == 4 and _is_convex(outline)):
        outline = _rectangle_around(outline)
    found: Outline = outline.tolist()
    width, height = size_of(found)
    if min(width, height) < _LEAST_SIDE:
        raise _bad(f"The region is {width:.3g} x {height:.3g} pixels: too small for a text.")
    return found


def size_of(outline: Outline) -> tuple[float, float]:
    """Width and height of the crop in pixels: the longer edge, and the highest place."""
    upper, lower = strips.edges(outline)
    return (
        max(sum(map(math.dist, edge, edge[1:])) for edge in (upper, lower)),
        max(map(math.dist, upper, lower)),
    )


def pixels_of_cuts(outlines: Sequence[Outline]) -> int:
    """About how many pixels are computed to cut these regions."""
    sizes = (size_of(outline) for outline in outlines)
    return sum(min(int(width * height), _LARGEST_CROP) for width, height in sizes)


class Photo:
    """A photo to cut crops out of: RGB pixels (height, width, 3), uint8."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._levels = [pixels]

    def cut(self, outline: Outline) -> np.ndarray:
        """The straightened crop of a region (height, width, 3), uint8, at the size that it has in the photo.

        A crop of more than 131,072 pixels is cut from the photo at half its size, and so on. Beyond the
        photo's edge, the edge is repeated. Raises ServiceError if more than half lies there.
        """
        full_height, full_width = self._levels[0].shape[:2]
        corners = np.array(outline, np.float64)
        level = self._level(_halvings(corners))
        height, width = level.shape[:2]
        corners *= np.array([width / full_width, height / full_height])
        size = tuple(max(1, round(side)) for side in size_of(corners.tolist()))
        is_quadrilateral = len(corners) == 4
        # Far larger than the photo: no level is small enough, and straightening would take gigabytes.
        if not is_quadrilateral and math.prod(size) > 4 * _LARGEST_CROP:
            raise _outside(full_width, full_height)
        places = None if is_quadrilateral else strips.straightened(corners, (size[0], size[1]))
        share = _share_within(corners, width, height) if places is None else _share_of(places, width, height)
        if share < _LEAST_INSIDE:
            raise _outside(full_width, full_height)
        left, top = np.clip(np.floor(corners.min(axis=0)) - _MARGIN, 0, [width - 1, height - 1]).astype(int)
        right, bottom = np.clip(np.ceil(corners.max(axis=0)) + _MARGIN, 1, [width, height]).astype(int)
        near = np.ascontiguousarray(level[top:bottom, left:right])
        # For OpenCV the middle of the first pixel is 0, 0.
        origin = np.array([left, top]) + 0.5
        if places is not None:
            across, down = cv2.split((places - origin).astype(np.float32))
            bent: np.ndarray = cv2.remap(near, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            return bent
        straight = np.array([[0, 0], [size[0], 0], size, [0, size[1]]], np.float32)
        transform = cv2.getPerspectiveTransform(
            (corners - origin).astype(np.float32), straight - np.float32(0.5)
        )
        crop: np.ndarray = cv2.warpPerspective(
            near, transform, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        return crop

    def _level(self, halvings: int) -> np.ndarray:
        while len(self._levels) <= halvings:
            height, width = self._levels[-1].shape[:2]
            half = ((width + 1) // 2, (height + 1) // 2)
            self._levels.append(cv2.resize(self._levels[-1], half, interpolation=cv2.INTER_AREA))
        return self._levels[halvings]


def _halvings(outline: np.ndarray) -> int:
    """How often the photo is halved before the region is cut."""
    size = size_of(outline.tolist())
    longest = max(*size, *np.ptp(outline, axis=0))
    return max(
        0, math.ceil(math.log2(math.prod(size) / _LARGEST_CROP) / 2), math.ceil(math.log2(longest / _LONGEST))
    )


def _bad(detail: str) -> ServiceError:
    return ServiceError(ProblemType.BAD_REGION, detail)


def _outside(width: int, height: int) -> ServiceError:
    return _bad(f"Less than half of the region is in the photo, which is {width} x {height}.")


def _is_convex(outline: np.ndarray) -> bool:
    return bool(cv2.isContourConvex(outline.astype(np.float32)))


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
    region = corners.astype(np.float32)
    area = cv2.contourArea(region)
    return cv2.intersectConvexConvex(region, frame)[0] / area if area else 0.0


def _share_of(places: np.ndarray, width: int, height: int) -> float:
    """How many of a crop's pixels the photo has, by their places in it (height, width, 2)."""
    return float(((places >= 0) & (places < [width, height])).all(axis=-1).mean())
