import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_plans_and_packs")]
    operations = [
        migrations.CreateModel(
            name="StripeChange",
            fields=[
                ("stripe_id", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("version", models.PositiveBigIntegerField(default=1, help_text="Counts the events.")),
                ("leased_until", models.DateTimeField(help_text="While it is being applied.", null=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("next_attempt_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("last_error", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={"indexes": [models.Index(fields=["next_attempt_at"], name="stripe_change_due")]},
        ),
        migrations.AddField(
            model_name="billingaccount",
            name="readings",
            field=models.PositiveBigIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="billingaccount",
            name="last_reading",
            field=models.PositiveBigIntegerField(default=0, editable=False, help_text="The newest applied."),
        ),
    ]
