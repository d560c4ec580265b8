"""Options that are given as a name, a config or an object, as Keras takes its own."""

import difflib
from typing import Any, Generic, TypeVar

import keras

Base = TypeVar("Base")
Class = TypeVar("Class", bound=type)


class Registry(dict[str, Any], Generic[Base]):
    """The classes that one option knows by name.

    Args:
        option: string, the option's name, for messages and for saving.
        base: class that all of them derive from.
        default: string, the name that None stands for; None: there is no such.
    """

    def __init__(
        self, option: str, base: type[Base], default: str | None = None
    ) -> None:
        super().__init__()
        self.option, self.base, self.default = option, base, default

    def register(self, cls: Class) -> Class:
        """Makes a class known under its attribute `name`; returns it.

        Use it as a decorator. The class is registered with `keras.saving` too, if it
        is not yet.

        Raises:
            TypeError: if it is not a class derived from the option's base class.
            ValueError: if it has no name, or another class has that name.
        """
        derived = isinstance(cls, type) and issubclass(cls, self.base)
        if not derived:
            raise TypeError(
                f"Expected a class derived from {self.base.__name__}. Received: {cls!r}"
            )
        name = getattr(cls, "name", None)
        if not (isinstance(name, str) and name):
            raise ValueError(
                f"Expected {cls.__name__} with a class attribute `name`, the string "
                f"that {self.option}= takes. Received: name={name!r}"
            )
        known = self.get(name, cls)
        # The same definition may run twice, as in a notebook.
        if _path(known) != _path(cls):
            raise ValueError(
                f"Expected a unique name for {cls.__name__}; "
                f"{known.__module__}.{known.__qualname__} has this one. Received: "
                f"name={name!r}"
            )
        if keras.saving.get_registered_name(cls) == cls.__name__:
            package = f"{cls.__module__.partition('.')[0]}.{self.option}"
            keras.saving.register_keras_serializable(package=package)(cls)
        self[name] = cls
        return cls

    def find(self, value: Any) -> Base:
        """Returns the object that a name, a config or an object stands for.

        Args:
            value: string; `{"class_name": ..., "config": {...}}` with a name or a
                class, or as `keras.saving.serialize_keras_object` makes it; an
                object; or None.

        Raises:
            ValueError: for an unknown name or class.
            TypeError: for any other object.
        """
        if value is None and self.default is not None:
            value = self.default
        if isinstance(value, str):
            if value not in self:
                raise ValueError(f"{self._expected(value)}. Received: {value!r}")
            value = self[value]()
        elif isinstance(value, dict):
            value = self._from_config(value)
        if not isinstance(value, self.base):
            raise TypeError(
                f"{self._expected()}. "
                f"Received: {value!r} (of type {type(value).__name__})"
            )
        return value

    def _from_config(self, value: dict[str, Any]) -> Any:
        name = value.get("class_name")
        classes = {cls.__name__: cls for cls in self.values()} | self
        if name in classes and value.get("module") is None:
            return classes[name].from_config(value.get("config") or {})
        if name is None:
            raise ValueError(f"{self._expected()}. Received: {value!r}")
        try:
            return keras.saving.deserialize_keras_object(value)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self._expected(name)}; this config cannot be built ({error}). "
                f"Received: {value!r}"
            ) from error

    def _expected(self, name: Any = None) -> str:
        near = difflib.get_close_matches(str(name), self, 1) if name else []
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return (
            f"Expected {self.option} as one of {sorted(self)}{hint}, a config "
            "{'class_name': ..., 'config': {...}} or "
            f"a tf_lossprune {self.base.__name__}"
        )


def _path(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__
