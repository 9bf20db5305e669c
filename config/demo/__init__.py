"""The demo: three invented customers with people, keys, prices and 60 days of jobs. Nothing outside imports it."""
