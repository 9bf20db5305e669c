from django.db import migrations, models

# Whatever code runs: an audit row stays as it was written. Only the erasure of an organization or a person, which says
# so for its transaction, may blank names and values; and nothing deletes rows.
TRIGGER = """
CREATE FUNCTION accounts_keep_audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    erasable constant text[] := ARRAY['actor_name', 'organization_name', 'target_name', 'ip', 'before', 'after'];
BEGIN
    IF TG_OP = 'UPDATE' AND current_setting('countinghouse.erasing', true) = 'yes'
            AND to_jsonb(NEW) - erasable = to_jsonb(OLD) - erasable THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'The audit trail is never changed: entry % stays as it is.', OLD.id
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER accounts_keep_audit BEFORE UPDATE OR DELETE ON accounts_auditentry
    FOR EACH ROW EXECUTE FUNCTION accounts_keep_audit();
"""
UNDO = """
DROP TRIGGER accounts_keep_audit ON accounts_auditentry;
DROP FUNCTION accounts_keep_audit();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_invitation_sent")]

    operations = [
        migrations.AddIndex("auditentry", models.Index(fields=["action", "-id"], name="audit_of_action")),
        migrations.AddIndex("auditentry", models.Index(fields=["actor_name", "-id"], name="audit_of_actor")),
        migrations.AddIndex("auditentry", models.Index(fields=["target_uid", "-id"], name="audit_of_target")),
        migrations.RunSQL(TRIGGER, UNDO),
    ]
