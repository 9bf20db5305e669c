"""What tests across apps borrow from those of one."""

from tests.usage.conftest import data_plane, job, post_jobs, rates

__all__ = ["data_plane", "job", "post_jobs", "rates"]
