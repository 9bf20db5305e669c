import django.contrib.postgres.fields
from django.db import migrations, models

# The days there are already. A histogram has 25 numbers.
_SUMS = ", ".join(f"COALESCE(SUM(durations[{n}]), 0)::bigint" for n in range(1, 26))
_FILL = f"""
INSERT INTO usage_jobmargin (organization_id, day, region, status, jobs, durations)
SELECT organization_id, day, region, status, SUM(jobs)::bigint, ARRAY[{_SUMS}]
FROM usage_dailyjobs GROUP BY 1, 2, 3, 4
"""


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0008_pipeline_drafts"),
    ]

    operations = [
        migrations.CreateModel(
            name="JobMargin",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "organization_id",
                        "day",
                        "region",
                        "status",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("organization_id", models.BigIntegerField()),
                ("day", models.DateField()),
                ("region", models.CharField(max_length=32)),
                ("status", models.CharField(max_length=16)),
                ("jobs", models.BigIntegerField()),
                (
                    "durations",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
            ],
        ),
        migrations.RunSQL(_FILL, migrations.RunSQL.noop),
    ]
