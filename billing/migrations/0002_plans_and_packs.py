from decimal import Decimal

from django.db import migrations

PLANS = [
    {
        "slug": "pay_as_you_go",
        "name": "Pay-as-you-go",
        "summary": "Start free, then pay for what you use.",
        "credit_price": Decimal("0.01"),
        "sign_up_credits": 100,
        "requests_per_minute": 10,
        "retention_days": 90,
        "price_text": "$0.01 a credit",
        "billing_text": "Monthly, based on usage",
        "credits_text": "100 free on sign-up, then pay as you go",
        "rate_limit_text": "Up to 10 requests a minute",
        "support_text": "Community",
        "retention_text": "Standard",
        "position": 1,
    },
    {
        "slug": "pro",
        "name": "Pro",
        "summary": "For products that run on it every day.",
        "monthly_price": 799,
        "yearly_price": 7_990,
        "credit_price": Decimal("0.01"),
        "included_credits": 100_000,
        "requests_per_minute": 100,
        "retention_days": 0,
        "billing_text": "Subscription, and overage at $0.01 a credit",
        "credits_text": "100,000 a month included",
        "rate_limit_text": "Up to 100 requests a minute",
        "support_text": "Dedicated Slack channel",
        "retention_text": "Zero data retention",
        "position": 2,
    },
    {
        "slug": "enterprise",
        "name": "Enterprise",
        "summary": "Terms of your own, for the largest and the most careful.",
        "is_custom": True,
        "is_unlimited": True,
        "credit_price": Decimal("0.01"),
        "requests_per_minute": 6_000,
        "retention_days": 0,
        "price_text": "Custom",
        "billing_text": "Invoiced, in tiers with volume discounts",
        "credits_text": "Custom",
        "rate_limit_text": "Custom",
        "support_text": "Dedicated Slack channel, custom SLAs, priority support",
        "retention_text": "Zero data retention, deployments in your own network",
        "compliance_text": "SOC 2, HIPAA, signed BAA",
        "position": 3,
    },
]
PACKS = [("1000", 1_000, 10), ("10000", 10_000, 100), ("100000", 100_000, 950)]

# Who is here already keeps plan, balance and terms: a plan that costs something was given by hand, so it is invoiced.
ACCOUNTS = """
INSERT INTO billing_billingaccount (
    organization_id, plan_id, is_invoiced, interval, stripe_customer, stripe_subscription, subscription_status, anchor,
    next_interval, card, balance, settled, uncovered, overage_pending, grants, created_at, readings, last_reading)
SELECT o.id, p.id, p.slug <> 'pay_as_you_go', CASE WHEN p.slug <> 'pay_as_you_go' THEN 'month' ELSE '' END, '', '', '',
    o.created_at, '', '', GREATEST(COALESCE(e.credits_ceiling - e.credits_used, 0), 0), COALESCE(e.credits_used, 0),
    GREATEST(COALESCE(e.credits_used - e.credits_ceiling, 0), 0), 0, 1, o.created_at, 0, 0
FROM accounts_organization o
LEFT JOIN usage_entitlement e ON e.organization_id = o.id
JOIN billing_plan p ON p.slug = CASE WHEN e.plan IN ('pro', 'enterprise') THEN e.plan ELSE 'pay_as_you_go' END;

INSERT INTO billing_settledday (organization_id, day, credits, overage, uncovered)
SELECT organization_id, day, credits, 0, 0 FROM usage_usageday;

-- What nobody paid for was used last.
UPDATE billing_settledday s SET uncovered = d.uncovered
FROM (
    SELECT s.organization_id, s.day, LEAST(s.credits, GREATEST(a.uncovered + s.credits - SUM(s.credits) OVER (
        PARTITION BY s.organization_id ORDER BY s.day DESC), 0)) AS uncovered
    FROM billing_settledday s
    JOIN billing_billingaccount a ON a.organization_id = s.organization_id AND a.uncovered > 0) d
WHERE s.organization_id = d.organization_id AND s.day = d.day AND d.uncovered > 0;

INSERT INTO billing_creditgrant (
    uid, organization_id, kind, key, amount, remaining, priority, reason, stripe_object, created_at)
SELECT 'grt_' || replace(gen_random_uuid()::text, '-', ''), organization_id, 'free', 'opening', balance, balance, 20,
    'Credits left when the ledger began', '', now()
FROM billing_billingaccount WHERE balance > 0;

INSERT INTO billing_creditentry (
    uid, organization_id, kind, amount, overage, balance, grant_id, job_id, key, reason, created_at)
SELECT 'cre_' || replace(gen_random_uuid()::text, '-', ''), organization_id, 'grant', amount, 0, amount, id, '',
    'grant:' || uid, reason, created_at
FROM billing_creditgrant;

INSERT INTO billing_entitlementoverride (
    uid, organization_id, requests_per_minute, retention_days, credit_price, is_suspended, reason, created_at)
SELECT 'ovr_' || replace(gen_random_uuid()::text, '-', ''), e.organization_id,
    NULLIF(e.requests_per_minute, p.requests_per_minute), NULLIF(e.retention_days, p.retention_days),
    NULLIF(e.credit_price, p.credit_price), NOT e.may_call,
    COALESCE(NULLIF(e.reason, ''), 'Agreed before'), now()
FROM usage_entitlement e
JOIN billing_billingaccount a ON a.organization_id = e.organization_id
JOIN billing_plan p ON p.id = a.plan_id
WHERE (e.requests_per_minute, e.retention_days, e.credit_price, e.may_call)
    IS DISTINCT FROM (p.requests_per_minute, p.retention_days, p.credit_price, TRUE);
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


def offer(apps, schema_editor):
    plan, pack = apps.get_model("billing", "Plan"), apps.get_model("billing", "CreditPack")
    for values in PLANS:
        plan.objects.create(**values)
    for position, (slug, credits, price) in enumerate(PACKS, start=1):
        pack.objects.create(slug=slug, credits=credits, price=price, position=position)


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0001_plans_credits_and_stripe"),
        ("usage", "0012_corrections_by_day"),
    ]
    operations = [
        # First, for tables with rows that are still to be checked cannot be altered.
        migrations.RunSQL(ROOM, migrations.RunSQL.noop),
        migrations.RunPython(offer, migrations.RunPython.noop),
        migrations.RunSQL(ACCOUNTS, migrations.RunSQL.noop),
    ]
