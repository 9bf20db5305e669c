from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0005_lists_of_all_organizations"),
    ]

    operations = [
        migrations.CreateModel(
            name="SettlementMark",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("settled_until", models.DateTimeField()),
            ],
        ),
        # Or all that was ever used would look as if it waited, until the first pass.
        migrations.RunSQL(
            "INSERT INTO billing_settlementmark (id, settled_until) VALUES (1, now())", migrations.RunSQL.noop
        ),
    ]
