"""The product, keeping nothing of what it reads of keys."""

from config.wsgi import application as application
from usage import known_keys

known_keys._MOST_KEYS = 0
