from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0011_what_staff_find_by"),
        ("billing", "0003_invoice_paid"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="invoice",
            index=models.Index(fields=["number"], name="invoice_number"),
        ),
        migrations.AddIndex(
            model_name="invoice",
            index=models.Index(
                condition=models.Q(("stripe_payment", ""), _negated=True),
                fields=["stripe_payment"],
                name="invoice_payment",
            ),
        ),
    ]
