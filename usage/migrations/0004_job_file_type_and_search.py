from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0003_spend_cap_until_and_firings"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="job", name="job_once"),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.UniqueConstraint(
                fields=("organization", "job_id"),
                name="job_once",
                opclasses=["int8_ops", "varchar_pattern_ops"],
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="file_type",
            field=models.CharField(default="", help_text="Of the first usage item that came.", max_length=32),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "Completed"), _negated=True),
                fields=["organization", "status", "-created_at", "-id"],
                name="job_log_not_completed",
            ),
        ),
    ]
