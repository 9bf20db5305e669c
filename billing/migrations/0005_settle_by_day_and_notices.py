from decimal import Decimal

from django.db import migrations, models

# What nobody paid for was used last.
BY_DAY = """
UPDATE billing_settledday s SET uncovered = d.uncovered
FROM (
    SELECT s.organization_id, s.day, LEAST(s.credits, GREATEST(a.uncovered + s.credits - SUM(s.credits) OVER (
        PARTITION BY s.organization_id ORDER BY s.day DESC), 0)) AS uncovered
    FROM billing_settledday s
    JOIN billing_billingaccount a ON a.organization_id = s.organization_id AND a.uncovered > 0) d
WHERE s.organization_id = d.organization_id AND s.day = d.day AND d.uncovered > 0
"""

# Room for the next version of a row beside the one before; and nobody looks for ids by how they begin.
ROOM = r"""
ALTER TABLE billing_creditgrant SET (fillfactor = 70);
ALTER TABLE billing_billingaccount SET (fillfactor = 70);
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()
        AND tablename IN ('billing_creditgrant', 'billing_creditentry') AND indexname LIKE '%\_uid\_%\_like'
    LOOP EXECUTE format('DROP INDEX %I', name); END LOOP;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0004_meter_repairs")]
    operations = [
        migrations.AddField(
            model_name="settledday",
            name="uncovered",
            field=models.DecimalField(decimal_places=6, default=Decimal("0"), max_digits=30),
        ),
        migrations.RunSQL(BY_DAY, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name="settledday",
            constraint=models.CheckConstraint(
                condition=models.Q(("uncovered__gte", 0)), name="settled_day_not_negative"
            ),
        ),
        migrations.RemoveIndex(model_name="creditgrant", name="credit_grant_open"),
        migrations.RemoveIndex(model_name="creditgrant", name="credit_grant_expiring"),
        migrations.AddField(
            model_name="creditgrant",
            name="is_open",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Q(("remaining__gt", 0)),
                output_field=models.BooleanField(),
            ),
        ),
        migrations.AddIndex(
            model_name="creditgrant",
            index=models.Index(
                condition=models.Q(("is_open", True)),
                fields=["organization", "priority"],
                name="credit_grant_open",
            ),
        ),
        migrations.AddIndex(
            model_name="creditgrant",
            index=models.Index(
                condition=models.Q(("expires_at__isnull", False), ("is_open", True)),
                fields=["expires_at"],
                name="credit_grant_expiring",
            ),
        ),
        migrations.AddField(
            model_name="billingaccount",
            name="card_ends_at",
            field=models.DateTimeField(editable=False, help_text="When its card expires.", null=True),
        ),
        migrations.AddField(
            model_name="invoice",
            name="attempts",
            field=models.PositiveIntegerField(default=0, help_text="How often Stripe tried to be paid."),
        ),
        migrations.AddIndex(
            model_name="meterreport",
            index=models.Index(
                condition=models.Q(("state", "refused")), fields=["id"], name="meter_report_refused"
            ),
        ),
        migrations.RunSQL(ROOM, migrations.RunSQL.noop),
    ]
