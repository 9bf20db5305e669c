import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

django_application = get_wsgi_application()

from usage import fast_path  # noqa: E402 (it needs the apps to be loaded)

application = fast_path.ahead_of(django_application)

# What is loaded now stays. Looking through it again and again cost ingest a fifth of its time.
gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 20)
