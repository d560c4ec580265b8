"""What all settings objects have in common."""


class Configurable:
    """An object that `keras.saving` can store: by default it has no settings."""

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
