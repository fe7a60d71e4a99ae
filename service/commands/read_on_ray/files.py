"""Folders and object stores alike: which image files there are, their bytes, and how to write a table."""

from __future__ import annotations

import os
from typing import NamedTuple

from pyarrow import fs

from abinet_client.batch.sources import IMAGES


class Place(NamedTuple):
    """A folder or file in a file system; `scheme` is what stands before its path in a URI, if it is one."""

    files: fs.FileSystem
    path: str
    scheme: str


def place_of(source: str) -> Place:
    """A path, or a URI such as `s3://bucket/folder?region=eu-west-1`.

    Raises ValueError if no such store is known.
    """
    if "://" not in source:
        return Place(fs.LocalFileSystem(), os.path.abspath(source), "")
    try:
        files, path = fs.FileSystem.from_uri(source)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    scheme = "" if isinstance(files, fs.LocalFileSystem) else source.partition("://")[0] + "://"
    return Place(files, path.rstrip("/"), scheme)


def image_files(place: Place) -> list[str]:
    """Sorted paths, without scheme, of the image files in and below a folder; of a file, its own path.

    Names that begin with a dot are passed over. Raises OSError if there is nothing at the path, and
    ValueError if a name is not UTF-8.
    """
    files, path, scheme = place
    kind = files.get_file_info(path).type
    if kind == fs.FileType.NotFound:
        raise FileNotFoundError(2, "No such file or folder", scheme + path)
    if kind != fs.FileType.Directory:
        return [path]
    try:
        found = files.get_file_info(fs.FileSelector(path, recursive=True))
        return sorted(entry.path for entry in found if _is_image(entry, len(path)))
    except UnicodeDecodeError:
        raise ValueError(f"{scheme}{path}: a name in it is not UTF-8; rename the file") from None


def _is_image(entry: fs.FileInfo, root: int) -> bool:
    return (
        entry.type != fs.FileType.Directory
        and entry.path.lower().endswith(IMAGES)
        and "/." not in entry.path[root:]
    )


def is_empty(folder: Place) -> bool:
    """Whether a folder is empty or does not exist."""
    selector = fs.FileSelector(folder.path, allow_not_found=True)
    return not folder.files.get_file_info(selector)


def content(files: fs.FileSystem, path: str, limit: int) -> bytes:
    """A file's bytes. Raises OSError, and ValueError if there are more than `limit`."""
    with files.open_input_stream(path, compression=None) as stream:
        body: bytes = stream.read(limit + 1)
    if len(body) > limit:
        raise ValueError(f"The limit is {limit} bytes.")
    return body


def write_whole(folder: Place, name: str, body: bytes) -> None:
    """Writes a file that appears with all its bytes, and replaces one of the same name."""
    files, path, _ = folder
    # An object in a store appears when all of it has arrived, but a local file grows.
    grows = isinstance(files, (fs.LocalFileSystem, fs.HadoopFileSystem))
    written = f"{path}/.{name}.{os.uname().nodename}-{os.getpid()}" if grows else f"{path}/{name}"
    files.create_dir(path, recursive=True)
    with files.open_output_stream(written, compression=None) as stream:
        stream.write(body)
    if grows:
        files.move(written, f"{path}/{name}")
