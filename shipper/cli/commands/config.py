"""`shipper config show`: the configuration in force. It must never show a secret."""

from shipper.cli.output.context import Context


def show(*, origin: bool = False, context: Context) -> None:
    """Print every setting with its value, including defaults; secrets are masked.

    Parameters
    ----------
    origin
        Print also where each value comes from: a line of the file, a variable, or the default.
    """
    from shipper.config.show import rows  # noqa: PLC0415 - only this command needs it

    shown = rows(context.settings())
    if context.json:
        context.emit(
            {
                row.name: {"value": row.value, "origin": row.origin} if origin else row.value
                for row in shown
            }
        )
    elif origin:
        context.table(
            ("setting", "value", "origin"), [(row.name, row.text, row.origin) for row in shown]
        )
    else:
        context.table(("setting", "value"), [(row.name, row.text) for row in shown])
