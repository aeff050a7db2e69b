"""The exception of everything that reads data."""


class DataError(ValueError):
    """Input data, or a store made from it, cannot be used as it is.

    The message is one sentence for the person who started the program: it names the file (row, column, key) and says
    what to do, so that a command may print it without a traceback.
    """
