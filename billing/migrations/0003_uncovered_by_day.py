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


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_plans_and_packs")]
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
    ]
