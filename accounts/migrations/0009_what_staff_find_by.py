import accounts.words
import django.contrib.postgres.indexes
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0008_notes_and_staff_permissions"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="apikey",
            index=models.Index(fields=["prefix"], name="api_key_prefix", opclasses=["varchar_pattern_ops"]),
        ),
        migrations.AddIndex(
            model_name="apikey",
            index=models.Index(fields=["last_four"], name="api_key_last_four"),
        ),
        migrations.AddIndex(
            model_name="invitation",
            index=django.contrib.postgres.indexes.GinIndex(
                accounts.words.Words("email"), name="invitation_words"
            ),
        ),
        migrations.AddIndex(
            model_name="organization",
            index=django.contrib.postgres.indexes.GinIndex(
                accounts.words.Words("name", "billing_email"), name="organization_words"
            ),
        ),
        migrations.AddIndex(
            model_name="user",
            index=django.contrib.postgres.indexes.GinIndex(
                accounts.words.Words("name", "email"), name="user_words"
            ),
        ),
    ]
