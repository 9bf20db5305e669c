"""How the admin writes times (the pages name their own formats): sortable, to the second, in UTC."""

DATETIME_FORMAT = "Y-m-d H:i:s"
DATE_FORMAT = "Y-m-d"
