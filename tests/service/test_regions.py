"""`POST /v1/read/regions`: crops cut out of one photo, over a real socket."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from hypothesis import given, settings, strategies

from service.errors import ServiceError
from service.http.schemas import BatchResult
from service.image_decoding.regions import Photo, outline_of
from tests.support.tiny_service import ServiceProcess, encoded, problem, service, tiny_bundle

PHOTO = np.random.default_rng(7).integers(0, 256, (300, 400, 3), np.uint8)
BOXES = [(10, 20, 90, 24), (120, 40, 100, 30), (0, 0, 400, 300), (200, 250, 64, 32)]
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def bundled() -> Iterator[ServiceProcess]:
    with service() as started:
        yield started


def quad(left: float, top: float, width: float, height: float) -> list[list[float]]:
    return [[left, top], [left + width, top], [left + width, top + height], [left, top + height]]


def regions(
    running: ServiceProcess, regions: Any, photo: bytes = encoded(PHOTO), **body: Any
) -> httpx.Response:
    image = base64.b64encode(photo).decode()
    return running.client.post("/v1/read/regions", json={"image": image, "regions": regions, **body})


def items(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    BatchResult.model_validate(response.json())
    found: list[dict[str, Any]] = response.json()["items"]
    return found


def words(response: httpx.Response) -> list[tuple[str, float]]:
    results = [item["result"] for item in items(response)]
    return [(result["text"], result["confidence"]) for result in results]


def by_hand(running: ServiceProcess, **options: Any) -> list[tuple[str, float]]:
    crops = [PHOTO[y : y + height, x : x + width] for x, y, width, height in BOXES]
    answers = [running.read(np.ascontiguousarray(crop), **options).json() for crop in crops]
    return [(answer["text"], answer["confidence"]) for answer in answers]


def fault_of(points: list[list[float]]) -> str:
    with pytest.raises(ServiceError) as failure:
        Photo(PHOTO).cut(outline_of(points))
    return failure.value.detail


def test_an_upright_region_is_the_pixels_that_one_would_cut_by_hand() -> None:
    assert (Photo(PHOTO).cut(outline_of(quad(10, 20, 90, 24))) == PHOTO[20:44, 10:100]).all()


def test_a_region_begins_where_its_text_begins() -> None:
    downwards = [[100.0, 20.0], [100.0, 110.0], [76.0, 110.0], [76.0, 20.0]]
    cut = Photo(PHOTO).cut(outline_of(downwards))
    assert (cut == cv2.rotate(PHOTO[20:110, 76:100], cv2.ROTATE_90_COUNTERCLOCKWISE)).all()


def test_points_that_go_around_the_other_way_do_not_mirror_the_text() -> None:
    around = quad(10, 20, 90, 24)
    assert outline_of([around[0], around[3], around[2], around[1]]) == around


def test_perspective_is_taken_out() -> None:
    flat = cv2.resize(PHOTO[:4, :8], (160, 80), interpolation=cv2.INTER_NEAREST)
    corners = np.array([[30, 40], [230, 60], [220, 150], [40, 130]], np.float32)
    frame = np.array([[0, 0], [160, 0], [160, 80], [0, 80]], np.float32)
    photo = cv2.warpPerspective(flat, cv2.getPerspectiveTransform(frame, corners), (300, 200))
    cut = cv2.resize(Photo(photo).cut(outline_of(corners.tolist())), (160, 80), interpolation=cv2.INTER_AREA)
    assert np.abs(cut.astype(int) - flat).mean() < 12


def test_a_polygon_that_is_no_strip_is_cut_as_the_smallest_rectangle_around_it() -> None:
    odd = [[10, 30], [50, 20], [90, 30], [90, 50], [10, 50]]
    assert np.allclose(outline_of(odd), quad(10, 20, 80, 30), atol=1e-3)
    begun_elsewhere = [[50, 20], [90, 20], [90, 50], [50, 50], [10, 50], [10, 20]]
    assert np.allclose(outline_of(begun_elsewhere), quad(10, 20, 80, 30), atol=1e-3)


coordinate = strategies.floats(-20, 20)


@settings(deadline=None)
@given(
    strategies.integers(3, 32),
    strategies.lists(strategies.tuples(coordinate, coordinate), min_size=4, max_size=4),
)
def test_a_strip_with_straight_edges_is_the_quadrilateral_of_its_corners(
    points: int, moves: list[tuple[float, float]]
) -> None:
    corners = np.array(quad(60, 80, 240, 60)) + moves
    one, two, three, four = corners
    share = np.linspace(0, 1, points)[:, None]
    strip = np.concatenate([one + share * (two - one), three + share * (four - three)])
    # The strip's own corners: those above may be a rounding error away.
    ends = strip[[0, points - 1, points, -1]]
    cut, expected = (Photo(PHOTO).cut(outline_of(outline.tolist())) for outline in (strip, ends))
    assert cut.shape == expected.shape
    assert np.abs(cut.astype(int) - expected).mean() < 1


@settings(deadline=None)
@given(
    strategies.integers(3, 32),
    strategies.floats(-1.2, 1.2).filter(lambda bend: abs(bend) > 0.2),
    strategies.floats(0, 2 * np.pi),
)
def test_a_strip_along_an_arc_is_straightened(points: int, bend: float, turned: float) -> None:
    width, height = 160, 32
    flat = np.zeros((height, width, 3), np.uint8)
    flat[:, 40:44] = flat[12:20] = 255
    photo, outline = bent(flat, bend, turned, max(points, 8))
    cut = cv2.resize(Photo(photo).cut(outline_of(outline)), (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(cut.astype(int) - flat)[4:-4, 8:-8].mean() < 16


def bent(
    flat: np.ndarray, bend: float, turned: float = 0, points: int = 8
) -> tuple[np.ndarray, list[list[float]]]:
    """A photo of a picture laid along an arc of `bend` radians, and the polygon around it; both `turned`."""
    height, width = flat.shape[:2]
    radius, side = width / bend, 2 * width
    turn = np.array([[np.cos(turned), np.sin(turned)], [-np.sin(turned), np.cos(turned)]])

    def on_arc(x: np.ndarray, y: float) -> np.ndarray:
        """Where points of the picture are in the photo."""
        angle = (x / width - 0.5) * bend
        away = radius + height / 2 - y
        middle = np.stack([away * np.sin(angle), radius - away * np.cos(angle)], axis=-1)
        return middle @ turn + side / 2

    places = (np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1) + 0.5 - side / 2) @ turn.T
    across, down = places[..., 0], radius - places[..., 1]
    away = np.hypot(across, down) * np.sign(radius)
    angle = np.arctan2(across * np.sign(radius), down * np.sign(radius))
    source = np.stack([(angle / bend + 0.5) * width, radius + height / 2 - away], axis=-1) - 0.5
    across, down = cv2.split(source.astype(np.float32))
    photo = cv2.remap(flat, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    along = np.linspace(0, width, points)
    edges = np.concatenate([on_arc(along, 0), on_arc(along[::-1], height)])
    return photo, edges.tolist()


@slow
@pytest.mark.parametrize("bend", [-2.8, 2.8])
def test_curved_words_read_better_along_their_polygon_than_in_the_rectangle_around_it(
    bundled: ServiceProcess, bend: float
) -> None:
    straightened = around = 0
    for name in ("HARBOUR", "RESTAURANT", "PHARMACY", "MARKET"):
        flat = np.full((64, 44 * len(name), 3), 230, np.uint8)
        cv2.putText(flat, name, (12, 50), cv2.FONT_HERSHEY_DUPLEX, 1.8, (30, 30, 30), 4)
        photo, polygon = bent(flat, bend)
        odd = [polygon[0], np.mean(polygon[:2], axis=0).tolist(), *polygon[1:]]
        (along, _), (rectangle, _) = words(regions(bundled, [polygon, odd], encoded(photo)))
        straightened += along == name.lower()
        around += rectangle == name.lower()
    assert straightened == 4 > around


def test_a_region_that_is_longer_than_opencv_warps_is_cut() -> None:
    photo = np.zeros((60, 40_000, 3), np.uint8)
    assert Photo(photo).cut(outline_of(quad(0, 10, 40_000, 3))).shape[1] == 10_000
    edge = [[x, 10 + 30 * (x == 20_000)] for x in (0, 20_000, 40_000)]
    strip = [*edge, *[[x, y + 15] for x, y in edge[::-1]]]
    assert Photo(photo).cut(outline_of(strip)).shape[1] == 10_000


def test_a_large_region_is_cut_from_a_smaller_photo() -> None:
    photo = np.zeros((2000, 4000, 3), np.uint8)
    photo[:, 2000:] = 200
    cut = Photo(photo).cut(outline_of(quad(0, 0, 4000, 2000)))
    assert cut.shape[0] * cut.shape[1] <= 1 << 17
    assert cut[:, : cut.shape[1] // 2 - 2].max() == 0
    assert cut[:, cut.shape[1] // 2 + 2 :].min() == 200


@pytest.mark.parametrize(
    ("points", "fault"),
    [
        ([[0, 0], [40, 40], [40, 0], [0, 40]], "crosses itself"),
        ([[0, 0], [10, 0], [20, 0], [30, 0]], "no area"),
        ([[5, 5]] * 4, "no area"),
        (quad(5, 5, 1, 1), "too small"),
        (quad(5, 5, float("inf"), 9), "no number"),
        (quad(5, 5, float("nan"), 9), "no number"),
        (quad(1e300, 5, 9, 9), "beyond any photo"),
        (quad(500, 5, 90, 24), "400 x 300"),
        (quad(360, 5, 90, 24), "Less than half"),
        ([[0, 0], [10, 0], [10, 10]], "3 points"),
        ([[float(x), 0] for x in range(65)], "65 points"),
    ],
)
def test_what_cannot_be_cut_says_why(points: list[list[float]], fault: str) -> None:
    assert fault in fault_of(points)


def test_a_region_may_stand_out_of_the_photo_a_little() -> None:
    assert Photo(PHOTO).cut(outline_of(quad(-10, -5, 90, 24))).shape == (24, 90, 3)


@slow
def test_a_photo_may_have_as_many_outlines_of_as_many_points_as_are_allowed(bundled: ServiceProcess) -> None:
    angles = np.linspace(np.pi, 0, 32)
    upper, lower = ([[150 + r * np.cos(a), 150 - r * np.sin(a)] for a in angles] for r in (140.0, 110.0))
    found = items(regions(bundled, [[*upper, *lower[::-1]]] * 64))
    assert len(found) == 64
    assert all("result" in item for item in found)


def test_curved_text_far_larger_than_the_photo_is_refused_before_it_is_straightened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.image_decoding.strips.straightened", None)
    angles = np.linspace(np.pi, 0, 7)
    upper, lower = ([[r * np.cos(a), -r * np.sin(a)] for a in angles] for r in (9e5, 5e5))
    with pytest.raises(ServiceError, match="Less than half"):
        Photo(PHOTO).cut(outline_of([*upper, *lower[::-1]]))


def test_any_outline_is_cut_or_has_a_reason() -> None:
    chance = np.random.default_rng(1)
    for _ in range(300):
        count = int(chance.integers(4, 9))
        points = (chance.normal(150, 10 ** chance.uniform(0, 5), (count, 2))).tolist()
        try:
            cut = Photo(PHOTO).cut(outline_of(points))
        except ServiceError:
            continue
        assert 0 < cut.shape[0] * cut.shape[1] <= 1 << 18


@slow
def test_every_region_reads_as_the_crop_that_one_would_cut_by_hand(running: ServiceProcess) -> None:
    expected = by_hand(running)
    assert words(regions(running, [quad(*box) for box in BOXES])) == expected
    assert words(regions(running, [{"box": list(box)} for box in BOXES])) == expected


@slow
def test_a_form_with_the_regions_as_a_field_or_a_file_reads_as_json(running: ServiceProcess) -> None:
    expected = words(regions(running, [quad(*box) for box in BOXES], iterations=0))
    listed = json.dumps([quad(*box) for box in BOXES])
    image = {"image": ("photo.png", encoded(PHOTO))}
    as_field = running.client.post(
        "/v1/read/regions", files=image, data={"regions": listed}, params={"iterations": 0}
    )
    as_file = running.client.post(
        "/v1/read/regions",
        files={**image, "regions": ("regions.json", listed.encode())},
        params={"iterations": 0},
    )
    assert words(as_field) == words(as_file) == expected


@slow
def test_a_bad_region_has_its_own_error_and_the_others_are_read(running: ServiceProcess) -> None:
    crossing = [[0, 0], [40, 40], [40, 0], [0, 40]]
    asked = [
        {"id": "good", "box": [10, 20, 90, 24]},
        {"id": "crossing", "points": crossing},
        {"id": "outside", "box": [900, 900, 90, 24]},
    ]
    good, first, second = items(regions(running, asked))
    assert good["id"] == "good"
    assert good["result"]["text"] == by_hand(running)[0][0]
    for item, name in ((first, "crossing"), (second, "outside")):
        assert item["id"] == name
        assert item["error"]["type"] == "urn:abinet:problem:bad-region"
        assert item["error"]["status"] == 422
    (alone,) = items(regions(running, [crossing]))
    assert "crosses itself" in alone["error"]["detail"]


@slow
def test_a_tall_region_is_turned_and_the_service_says_how(running: ServiceProcess) -> None:
    (item,) = items(regions(running, [quad(200, 20, 24, 90)]))
    by_hand = running.read(np.ascontiguousarray(PHOTO[20:110, 200:224])).json()
    assert (item["result"]["text"], item["result"]["turned"]) == (by_hand["text"], by_hand["turned"])
    (item,) = items(regions(running, [quad(200, 20, 24, 90)], turns="none"))
    assert item["result"]["turned"] == 0


@slow
def test_sixty_four_regions_four_ways_up_are_one_request(running: ServiceProcess) -> None:
    asked = [quad(5 * index, 4 * index, 60, 20) for index in range(64)]
    assert len(words(regions(running, asked, turns="all", iterations=0))) == 64
    assert problem(regions(running, [*asked, asked[0]])) == (413, "too-many-crops")


@slow
def test_a_photo_of_many_pixels_is_read_as_well(running: ServiceProcess) -> None:
    large = cv2.resize(PHOTO, (2000, 1500), interpolation=cv2.INTER_NEAREST)
    (item,) = items(regions(running, [quad(0, 0, 2000, 1500)], encoded(large)))
    assert "result" in item


@slow
def test_the_photo_is_turned_upright_before_it_is_cut(running: ServiceProcess) -> None:
    jpeg = cv2.imencode(".jpg", cv2.rotate(PHOTO, cv2.ROTATE_90_COUNTERCLOCKWISE))[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    (inside,) = items(regions(running, [quad(330, 20, 60, 24)], turned))
    assert "result" in inside


@slow
def test_a_photo_that_cannot_be_decoded_fails_the_request(running: ServiceProcess) -> None:
    assert problem(regions(running, [quad(*BOXES[0])], b"hello")) == (415, "not-an-image")
    assert problem(regions(running, [quad(*BOXES[0])], encoded(PHOTO)[:5000])) == (400, "broken-image")


@slow
@pytest.mark.parametrize(
    "asked",
    [[], None, "all", [[]], [[[1, 2, 3]] * 4], [{"box": [1, 2, 3]}], [{"points": 1}], [{"box": ["a"] * 4}]],
)
def test_what_is_no_list_of_regions_is_an_invalid_request(running: ServiceProcess, asked: Any) -> None:
    if asked == [[]]:
        assert "0 points" in items(regions(running, asked))[0]["error"]["detail"]
    else:
        assert problem(regions(running, asked)) == (422, "invalid-request")


@slow
@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({"box": [1, 2, 3]}, "body.regions.0.box.box: List should have at least 4 items"),
        ({"points": [[1, 2], ["x", 4]]}, "body.regions.0.outline.points.1.0: Input should be a valid number"),
        ([[1, 2], [3, "x"]], "body.regions.0.points.1.1: Input should be a valid number"),
    ],
)
def test_a_fault_is_said_of_the_form_that_the_region_has(
    running: ServiceProcess, asked: Any, fault: str
) -> None:
    detail = regions(running, [asked]).json()["detail"]
    assert detail.startswith(fault)
    assert ";" not in detail


@slow
def test_a_form_without_regions_or_without_a_photo_is_an_invalid_request(running: ServiceProcess) -> None:
    image = {"image": ("photo.png", encoded(PHOTO))}
    for form in (
        {"files": image},
        {"files": image, "data": {"regions": "[[1, 2"}},
        {"files": {"regions": ("regions.json", json.dumps([quad(*BOXES[0])]).encode())}},
    ):
        assert problem(running.client.post("/v1/read/regions", **form)) == (422, "invalid-request")
    bare = running.client.post("/v1/read/regions", content=encoded(PHOTO))
    assert problem(bare) == (415, "unsupported-body")


@slow
def test_regions_count_as_crops_in_the_metrics_and_in_the_queue() -> None:
    with service("--bundle", str(tiny_bundle()), "--max-queue", "4", "--max-batch-items", "4") as running:
        assert len(words(regions(running, [quad(*box) for box in BOXES], iterations=0))) == 4
        metrics = running.client.get("/metrics").text
        assert "abinet_crops_total 4" in metrics
        assert problem(regions(running, [quad(*BOXES[0])] * 5)) == (413, "too-many-crops")
