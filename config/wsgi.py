import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()

# What is loaded now stays. Looking through it again and again cost ingest a fifth of its time.
gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 20)
