from django.db import migrations


class Migration(migrations.Migration):
    """The table of Django's database cache, as `createcachetable` makes it. Unlogged: what it holds may be forgotten."""

    dependencies = [("accounts", "0002_people_and_keys")]

    operations = [
        migrations.RunSQL(
            """
            CREATE UNLOGGED TABLE django_cache (
                cache_key varchar(255) PRIMARY KEY,
                value text NOT NULL,
                expires timestamptz NOT NULL
            );
            CREATE INDEX django_cache_expires ON django_cache (expires);
            """,
            "DROP TABLE django_cache",
        )
    ]
