import accounts.words
import django.contrib.postgres.indexes
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0011_what_staff_find_by"),
        ("webhooks", "0010_staff_permissions"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="endpoint",
            index=django.contrib.postgres.indexes.GinIndex(
                accounts.words.Words("url"), name="endpoint_words"
            ),
        ),
    ]
