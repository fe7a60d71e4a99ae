"""`POST /v1/read`, `POST /v1/read/batch` and `POST /v1/read/regions`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.errors import ProblemType, ServiceError
from service.http.answers import answer
from service.http.body import is_form, is_json, read_body, read_form
from service.http.json_body import Model, base64_of, json_object, parsed, validated
from service.http.lean import (
    JsonResponse,
    LeanRoute,
    documented_options,
    read_options,
    read_request,
    timeout_s,
)
from service.http.multipart import Form
from service.http.problems import documented
from service.http.routes.batch_answer import (
    LINES,
    batch_lines,
    batch_response,
    server_timing,
    wants_lines,
)
from service.http.schemas import (
    BatchImage,
    BatchRequest,
    BatchResult,
    BoxRegion,
    CropRequest,
    LexiconField,
    OutlinedRegion,
    Points,
    ReadResult,
    RegionList,
    RegionsRequest,
)
from service.image_decoding.regions import Outline, outline_of
from service.reading.reader import Reader
from service.settings.model import Settings
from service.types import ReadOptions

_TEXT_FIELDS = ("lexicon",)
"""Fields of a form, beside its files."""
_BINARY = {"type": "string", "format": "binary"}
_LEXICON = {
    "type": "string",
    "description": "JSON, a list of words, or the name of a list of the service's.",
    "examples": ['["harbour", "station"]'],
}
_ONE = {
    "parameters": documented_options(ReadOptions),
    "requestBody": {
        "required": True,
        "description": "One crop: a PNG, JPEG, BMP, WebP or TIFF file, bare, in a form or as base64.",
        "content": {
            "application/octet-stream": {"schema": _BINARY},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": _BINARY, "lexicon": _LEXICON},
                }
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/CropRequest"}},
        },
    },
}
_MANY = {
    "parameters": documented_options(ReadOptions),
    "requestBody": {
        "required": True,
        "description": "Crops: the files of a form, or JSON with base64.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {"images": {"type": "array", "items": _BINARY}, "lexicon": _LEXICON},
                }
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/BatchRequest"}},
        },
    },
}
_PHOTO = {
    "parameters": documented_options(ReadOptions),
    "requestBody": {
        "required": True,
        "description": "One photo and its regions: a form with a file and `regions` as JSON, or all in JSON.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image", "regions"],
                    "properties": {
                        "image": _BINARY,
                        "lexicon": _LEXICON,
                        "regions": {
                            "type": "string",
                            "description": "A JSON list, as `regions` of RegionsRequest.",
                            "examples": ["[[[31, 40], [210, 52], [208, 98], [29, 86]]]"],
                        },
                    },
                }
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/RegionsRequest"}},
        },
    },
}
_WHOLE = tuple(
    problem
    for problem in ProblemType
    if problem
    not in (
        ProblemType.ADMIN_OFF,
        ProblemType.BAD_REGION,
        ProblemType.BAD_BUNDLE,
        ProblemType.CLIENT_GONE,
        ProblemType.MODEL_CONFLICT,
        ProblemType.UNAUTHORISED,
    )
)
_OF_THE_BATCH = (
    ProblemType.NO_SUCH_MODEL,
    ProblemType.INVALID_REQUEST,
    ProblemType.UNSUPPORTED_BODY,
    ProblemType.UNSUPPORTED_ENCODING,
    ProblemType.BROKEN_BODY,
    ProblemType.BODY_TOO_SLOW,
    ProblemType.BODY_TOO_LARGE,
    ProblemType.BODIES_FULL,
    ProblemType.TOO_MANY_CROPS,
    ProblemType.QUEUE_FULL,
    ProblemType.FAULT,
    ProblemType.NOT_READY,
    ProblemType.DEADLINE,
)
_OF_THE_PHOTO = (
    ProblemType.NOT_AN_IMAGE,
    ProblemType.BROKEN_IMAGE,
    ProblemType.TOO_MANY_PIXELS,
    ProblemType.QUEUE_FULL,
)
"""Problems of the whole photo, if one region reports them."""


def read_router(reader: Reader) -> APIRouter:
    router = APIRouter(route_class=LeanRoute, tags=["read"])
    settings = reader.settings

    @router.post("/v1/read", response_model=ReadResult, responses=documented(*_WHOLE), openapi_extra=_ONE)
    async def read(request: Request) -> Response:
        """Reads one crop."""
        timeout = timeout_s(request)
        image, options = await _crop(request, settings)
        (crop,) = await reader.read(read_request(request, [image], options, timeout))
        if crop.error is not None:
            raise crop.error
        reading, timings = answer(crop)
        reader.observer.model_crop(crop.submission.model.version, timings)
        request.scope["state"].update(crops=1, timings=timings)
        reading["model"] = vars(crop.submission.model)
        return JsonResponse(reading, headers=server_timing(timings))

    @router.post(
        "/v1/read/batch",
        response_model=BatchResult,
        responses={200: {"content": {LINES: {"schema": {"type": "string"}}}}, **documented(*_OF_THE_BATCH)},
        openapi_extra=_MANY,
    )
    async def read_batch(request: Request) -> Response:
        """Reads many crops; each has its own result or its own error, in the order in which they came.

        A batch that does not fit into the queue's room is refused as a whole. With `Accept:
        application/x-ndjson` the answer is a line for each crop as soon as it is ready, with its `index`.
        """
        timeout = timeout_s(request)
        sent, options = await _batch(request, settings)
        request.scope["state"]["crops"] = len(sent)
        wanted = read_request(request, [image for _, image in sent], options, timeout)
        wanted = wanted._replace(detail=False)
        names = [name for name, _ in sent]
        if wants_lines(request):
            return await batch_lines(request, names, wanted, reader)
        return batch_response(request, names, await reader.read(wanted), reader)

    @router.post(
        "/v1/read/regions",
        response_model=BatchResult,
        responses=documented(*_OF_THE_BATCH, *_OF_THE_PHOTO),
        openapi_extra=_PHOTO,
    )
    async def read_regions(request: Request) -> Response:
        """Reads regions of one photo; each has its own result or its own error, in their order.

        The regions count as crops: those that do not fit into the queue's room are refused as a whole.
        """
        timeout = timeout_s(request)
        photo, listed, options = await _photo(request, settings)
        regions = [_outline(region) for region in listed.regions]
        request.scope["state"]["crops"] = len(regions)
        wanted = read_request(request, [photo], options, timeout)._replace(detail=False, regions=regions)
        crops = await reader.read(wanted)
        for crop in crops:
            if isinstance(crop.error, ServiceError) and crop.error.problem in _OF_THE_PHOTO:
                raise crop.error
        names = [None if isinstance(region, list) else region.id for region in listed.regions]
        return batch_response(request, names, crops, reader)

    return router


async def _crop(request: Request, settings: Settings) -> tuple[bytes | str, ReadOptions]:
    """The image of a request, a file's bytes or base64, and what it asks for."""
    options = read_options(request.scope["query_string"])
    if is_form(request):
        form = await read_form(request, settings.max_body_bytes, 1, _TEXT_FIELDS)
        ((_, image),) = form.files
        return image, await _with_lexicon(options, form)
    body = await read_body(request, settings.max_body_bytes)
    if not is_json(request):
        return body, options
    image_base64, named = await parsed(body, partial(_json_crop, body))
    return image_base64, options.model_copy(update=named)


def _json_crop(body: bytes) -> tuple[str, dict[str, Any]]:
    """A crop in base64, and the options beside it."""
    sent = validated(CropRequest, json_object(body, 1), "body")
    return base64_of(sent.image), sent.model_dump(exclude={"image"}, exclude_unset=True)


async def _batch(
    request: Request, settings: Settings
) -> tuple[Sequence[tuple[str | None, bytes | str]], ReadOptions]:
    """The crops of a request, each with its name if it has one, and what it asks for."""
    options = read_options(request.scope["query_string"])
    if is_form(request):
        form = await read_form(request, settings.max_body_bytes, settings.max_batch_items, _TEXT_FIELDS)
        return form.files, await _with_lexicon(options, form)
    _expect_json(request, "A batch is a form with files (multipart/form-data) or application/json.")
    body = await read_body(request, settings.max_body_bytes)
    crops, named = await parsed(body, partial(_json_crops, body, settings))
    return crops, options.model_copy(update=named)


def _json_crops(body: bytes, settings: Settings) -> tuple[list[tuple[str | None, str]], dict[str, Any]]:
    """Crops in base64, each with its name if it has one, and the options beside them."""
    document = json_object(body, settings.max_batch_items)
    _limit(document.get("images"), settings, "crops; a batch")
    batch = validated(BatchRequest, document, "body")
    crops = [BatchImage(image=one) if isinstance(one, str) else one for one in batch.images]
    named = batch.model_dump(exclude={"images"}, exclude_unset=True)
    return [(one.id, base64_of(one.image)) for one in crops], named


async def _photo(request: Request, settings: Settings) -> tuple[bytes | str, RegionList, ReadOptions]:
    """The photo of a request, its regions, and what it asks for."""
    options = read_options(request.scope["query_string"])
    if is_form(request):
        form = await read_form(request, settings.max_body_bytes, 1, ("regions", *_TEXT_FIELDS))
        ((_, image),) = form.files
        options = await _with_lexicon(options, form)
        listed = await _json_field(form, "regions", partial(_regions_document, settings), RegionList)
        return image, listed, options
    _expect_json(request, "A photo and its regions are a form (multipart/form-data) or application/json.")
    body = await read_body(request, settings.max_body_bytes)
    image_base64, regions, named = await parsed(body, partial(_json_photo, body, settings))
    return image_base64, regions, options.model_copy(update=named)


def _json_photo(body: bytes, settings: Settings) -> tuple[str, RegionList, dict[str, Any]]:
    """A photo in base64, its regions, and the options beside them."""
    sent = validated(RegionsRequest, _regions_document(settings, body), "body")
    return base64_of(sent.image), sent, sent.model_dump(exclude={"image", "regions"}, exclude_unset=True)


def _regions_document(settings: Settings, body: bytes, **named: str) -> dict[str, Any]:
    document = json_object(body, settings.max_batch_items, **named)
    _limit(document.get("regions"), settings, "regions; a request")
    return document


async def _with_lexicon(options: ReadOptions, form: Form) -> ReadOptions:
    """The options with the form's lexicon, if it has one: a list or a name in JSON, or a bare name."""
    if "lexicon" not in form.fields:
        return options
    sent = form.fields["lexicon"].strip()
    if sent[:1] not in (b"[", b'"'):  # curl takes quotes around a field away
        return options.model_copy(update={"lexicon": sent.decode(errors="replace")})
    listed = await _json_field(form, "lexicon", partial(json_object, most_crops=0), LexiconField)
    return options.model_copy(update={"lexicon": listed.lexicon})


async def _json_field(
    form: Form, name: str, document_of: Callable[..., dict[str, Any]], model: type[Model]
) -> Model:
    """A field of JSON. Put into an object, it is bounded and validated like any JSON here."""
    body = b'{"%b":%b}' % (name.encode(), form.fields.get(name, b"null"))
    return await parsed(body, lambda: validated(model, document_of(body, what=f"The field {name!r}"), "form"))


def _expect_json(request: Request, otherwise: str) -> None:
    if not is_json(request):
        raise ServiceError(ProblemType.UNSUPPORTED_BODY, otherwise)


def _limit(listed: Any, settings: Settings, what: str) -> None:
    """Refuses too many items before they are validated one by one."""
    if isinstance(listed, list) and len(listed) > settings.max_batch_items:
        raise ServiceError(
            ProblemType.TOO_MANY_CROPS, f"{len(listed)} {what} has {settings.max_batch_items} at most."
        )


def _outline(region: OutlinedRegion | BoxRegion | Points) -> Outline | ServiceError:
    if isinstance(region, BoxRegion):
        left, top, width, height = region.box
        right, bottom = left + width, top + height
        region = [[left, top], [right, top], [right, bottom], [left, bottom]]
    try:
        return outline_of(region if isinstance(region, list) else region.points)
    except ServiceError as error:
        return error
