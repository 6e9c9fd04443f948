"""Types are checked at every call of the package while tests run; shapes only where a function names one.

`pytest --jaxtyping-packages` wraps every function for shapes: it binds the arguments and checks them twice, which most
functions do not need and which was most of the time of a test. A function whose annotations name no shape is given to
beartype alone, which checks the same types. `jaxtyping_disable` turns both off, as before.
"""

import functools
import inspect
import typing

import jaxtyping
from beartype import beartype

_for_shapes = jaxtyping.jaxtyped


def check_shapes_only_where_there_are_some():
    """Take the place of jaxtyping's decorator, which its import hook looks up by name; call before importing ours."""
    jaxtyping.jaxtyped = _decorated


def _decorated(*functions, typechecker):
    if not functions:
        return functools.partial(_decorated, typechecker=typechecker)
    (function,) = functions
    if not inspect.isfunction(function) or _names_a_shape(function):
        return _for_shapes(function, typechecker=typechecker)
    checked = beartype(function)
    if checked is function:
        return function

    @functools.wraps(function)
    def call(*args, **kwargs):
        return (function if jaxtyping.config.jaxtyping_disable else checked)(*args, **kwargs)

    return call


def _names_a_shape(function):
    """Return whether an annotation names a shape, or a type that only a type checker knows."""
    own_class = function.__qualname__.split(".")[0]
    try:
        hints = typing.get_type_hints(function, localns={own_class: object})
    except NameError:
        return True
    return any(map(_is_of_shapes, hints.values()))


def _is_of_shapes(hint):
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(map(_is_of_shapes, typing.get_args(hint)))
