"""Where exports are kept: the storage "exports", which is a bucket, or a folder of this machine with signed links."""

import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlencode

from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.core.signing import Signer
from django.urls import reverse
from django.utils.crypto import constant_time_compare

# What a storage raises when it does not take, give or know a file.
FAILURES = (OSError, BotoCoreError, ClientError)
_CHUNK = 1024 * 1024


def exports() -> Storage:
    return storages["exports"]


def link(name: str, *, lasting: timedelta, saved_as: str = "") -> str:
    """A link by which whoever holds it can fetch this file, for so long, and save it under its name or this one."""
    told = {"ResponseContentDisposition": f'attachment; filename="{saved_as or PurePosixPath(name).name}"'}
    url: str = exports().url(name, told, int(lasting.total_seconds()))  # type: ignore[call-arg]
    return url


class Folder(FileSystemStorage):
    """Files under a folder. Each is there as a whole or not at all, and once it is there outlasts a power failure."""

    def _save(self, name: str, content: File[Any]) -> str:
        path = Path(self.path(name))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            try:
                for chunk in content.chunks(_CHUNK):
                    part.write(chunk if isinstance(chunk, bytes) else chunk.encode())
                part.flush()
                os.fsync(part.fileno())
                os.replace(part.name, path)
            except BaseException:
                os.unlink(part.name)
                raise
        for folder in path.relative_to(self.location).parents:
            _sync(Path(self.location) / folder)
        return name

    def url(self, name: str | None, parameters: Any = None, expire: int = 3600) -> str:
        """A signed link that lasts for so many seconds. Parameters are for buckets: the view says it by itself."""
        until = int(time.time()) + expire
        query = urlencode({"expires": until, "signature": _signature(str(name), str(until))})
        return f"{settings.BASE_URL}{reverse('usage:file', args=[name])}?{query}"


def is_signed(name: str, until: str, signature: str) -> bool:
    """Whether this is the signature of a link of a `Folder` to this file, which lasts until then."""
    return constant_time_compare(signature, _signature(name, until))


def open_in_folder(name: str) -> File[Any] | None:
    """The file of this name, where files are kept in a folder and it is still there."""
    storage = exports()
    if not isinstance(storage, Folder):
        return None
    try:
        return storage.open(name)
    except (FileNotFoundError, IsADirectoryError, SuspiciousFileOperation):
        return None


def _signature(name: str, until: str) -> str:
    return Signer(salt="a file of the exports").signature(f"{until}:{name}")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
