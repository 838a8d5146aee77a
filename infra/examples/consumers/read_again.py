"""Reads the secret again when the database refuses its password: what a client of one rotated user needs, in Lambda or anywhere.

Give it functions of yours. With boto3 and psycopg, for example:

    read_secret = lambda: json.loads(client.get_secret_value(SecretId="/prod/platform/orders")["SecretString"])
    log_in      = lambda secret: psycopg.connect(user=secret["username"], password=secret["password"], ...)
    is_refused  = lambda error: error.sqlstate == "28P01"

`read_secret` has to ask Secrets Manager itself: the Parameters and Secrets extension would answer from its cache.

>>> class Refused(Exception): pass
>>> in_force, attempts = "new", []
>>> def log_in(secret):
...     attempts.append(secret)
...     if secret == "unreachable": raise TimeoutError
...     if secret != in_force: raise Refused
...     return f"connection with {secret}"
>>> def database(*values):
...     values = iter(values)
...     return Database(lambda: next(values), log_in, lambda error: isinstance(error, Refused))

A password that was changed while a client kept the old one:

>>> kept = database("old", "new")
>>> kept.connection()
'connection with new'
>>> kept.connection()  # without a further read
'connection with new'

Changed in the database, and AWSCURRENT has not moved yet: try again later. The refused password is not tried twice.

>>> attempts.clear()
>>> database("old", "old").connection()
Traceback (most recent call last):
read_again.Refused
>>> attempts
['old']

A database that cannot be reached has refused nothing, and no read would help:

>>> database("unreachable").connection()
Traceback (most recent call last):
TimeoutError
"""


class Database:
    def __init__(self, read_secret, log_in, is_refused):
        self.read_secret = read_secret
        self.log_in = log_in
        self.is_refused = is_refused
        self.secret = None

    def connection(self):
        if self.secret is None:
            self.secret = self.read_secret()
        try:
            return self.log_in(self.secret)
        except Exception as error:
            if not self.is_refused(error):
                raise
            fresh = self.read_secret()
            if fresh == self.secret:
                raise
        self.secret = fresh
        return self.log_in(fresh)
