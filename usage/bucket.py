"""Keeping exports in a bucket of S3, or of a server that speaks as S3 does."""

from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from django.conf import settings
from storages.backends.s3 import S3Storage

_MEMORY = 8 * 1024 * 1024


class Bucket(S3Storage):  # type: ignore[misc]
    """Which bucket, where, and with which credentials is said by django-storages' settings AWS_…."""

    file_overwrite = False
    # Without these, a file would be in memory as a whole, or several parts of it at once.
    max_memory_size = _MEMORY
    transfer_config = TransferConfig(multipart_chunksize=_MEMORY, use_threads=False)

    def __init__(self, **options: Any) -> None:
        self.client_config = Config(
            # The older signature's links are refused in newer regions.
            signature_version="s3v4",
            s3={"addressing_style": settings.AWS_S3_ADDRESSING_STYLE},
            connect_timeout=5,
            retries={"mode": "standard", "max_attempts": 5},
            # Servers other than Amazon's stumble over checksums that they were not asked to keep.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        super().__init__(**options)

    def get_object_parameters(self, name: str) -> dict[str, Any]:
        """Have a .gz file be one: told that its content is encoded, whoever fetches it would unpack it."""
        found: dict[str, Any] = super().get_object_parameters(name)
        return {"ContentType": "application/gzip"} | found if name.endswith(".gz") else found
