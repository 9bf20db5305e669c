from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0012_lists_of_all_organizations"),
        ("webhooks", "0012_lists_of_all_organizations"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="endpoint",
            index=models.Index(
                condition=models.Q(
                    models.Q(("disabled", True), ("failing_since__isnull", False), _connector="OR"),
                    ("deleted_at", None),
                ),
                fields=["failing_since"],
                name="endpoint_unwell",
            ),
        ),
    ]
