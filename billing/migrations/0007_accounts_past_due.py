from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0012_lists_of_all_organizations"),
        ("billing", "0006_settlement_mark"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="billingaccount",
            index=models.Index(
                condition=models.Q(("subscription_status", "past_due")),
                fields=["past_due_since"],
                name="billing_account_past_due",
            ),
        ),
    ]
