"""The one exception for what a user can put right."""


class InputError(ValueError):
    """A fault in what the user gave: its message says what was received and what to do.

    A bundle run that ends with it prints the message as one line, without a traceback.
    """
