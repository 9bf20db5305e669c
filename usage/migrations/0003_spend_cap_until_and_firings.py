from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0006_audit_by_staff"),
        ("usage", "0002_margins_alerts_exports"),
    ]

    operations = [
        migrations.CreateModel(
            name="AlertMark",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("looked_until", models.DateTimeField()),
            ],
        ),
        migrations.RemoveConstraint(
            model_name="triggeredalert",
            name="triggered_alert_once_a_period",
        ),
        migrations.RemoveField(
            model_name="entitlement",
            name="spend_cap_reached",
        ),
        migrations.AddField(
            model_name="entitlement",
            name="spend_cap_reached_until",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="triggeredalert",
            name="metric",
            field=models.CharField(
                choices=[("pages", "Pages"), ("credits", "Credits"), ("cost", "Cost ($)")],
                default="pages",
                max_length=16,
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="triggeredalert",
            name="period",
            field=models.CharField(
                choices=[("daily", "Daily"), ("weekly", "Weekly"), ("monthly", "Monthly")],
                default="monthly",
                max_length=16,
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="triggeredalert",
            name="scope",
            field=models.CharField(
                blank=True, help_text="A key's id, or a product; empty for all.", max_length=40
            ),
        ),
        migrations.AddConstraint(
            model_name="triggeredalert",
            constraint=models.UniqueConstraint(
                fields=("alert", "period_start", "period", "metric", "scope", "threshold"),
                name="triggered_alert_once_a_period",
            ),
        ),
    ]
