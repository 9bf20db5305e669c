"""One alert a rule; and since which day an alert is as it is."""

import datetime

from django.db import migrations, models

# The oldest of the same is kept, with its history. At once, for nothing may be open when tables are changed.
_DELETE = """
SET CONSTRAINTS ALL IMMEDIATE;
CREATE TEMPORARY TABLE repeated ON COMMIT DROP AS
    SELECT DISTINCT a.id FROM usage_usagealert a JOIN usage_usagealert b ON b.id < a.id
        AND a.organization_id = b.organization_id AND a.metric = b.metric AND a.threshold = b.threshold
        AND a.period = b.period AND a.product = b.product AND a.api_key_id IS NOT DISTINCT FROM b.api_key_id;
DELETE FROM usage_triggeredalert WHERE alert_id IN (SELECT id FROM repeated);
DELETE FROM usage_usagealert WHERE id IN (SELECT id FROM repeated);
UPDATE usage_usagealert SET in_force_from = created_at::date;
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0010_prune_idempotency_keys")]

    operations = [
        migrations.AddField(
            model_name="usagealert",
            name="in_force_from",
            field=models.DateField(default=datetime.date.today, editable=False),
        ),
        migrations.RunSQL(_DELETE, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name="usagealert",
            constraint=models.UniqueConstraint(
                fields=("organization", "metric", "threshold", "period", "api_key", "product"),
                name="usage_alert_once",
                nulls_distinct=False,
            ),
        ),
    ]
