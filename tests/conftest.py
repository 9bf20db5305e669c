from tests.database import clean_redis, django_db_setup

__all__ = ["clean_redis", "django_db_setup"]
