"""`shipper config show`: the configuration in force. It must never show a secret."""

from shipper.cli.context import Context


def show(*, origin: bool = False, context: Context) -> None:
    """Print every setting with its value, defaults included.

    Parameters
    ----------
    origin
        Print where each value came from: a line of the file, a variable, or the default.
    """
    from shipper.config import show as rows_of  # noqa: PLC0415 - see the package

    rows = rows_of(context.settings())
    if context.json:
        context.emit(
            {
                name: {"value": value, "origin": place} if origin else value
                for name, value, place in rows
            }
        )
    elif origin:
        context.table(("setting", "value", "origin"), rows)
    else:
        context.table(("setting", "value"), [row[:2] for row in rows])
