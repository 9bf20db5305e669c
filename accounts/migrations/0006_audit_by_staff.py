from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_audit_is_kept")]

    operations = [
        migrations.AddField("auditentry", "by_staff", models.BooleanField(default=False)),
    ]
