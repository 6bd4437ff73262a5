"""The base classes of plugins: one for each `type` of a plugin.yaml."""


class Tool:
    """Something that the agent can do (`type: tool`)."""

    def describe(self):
        """One sentence, for whoever plans."""
        return (self.__doc__ or "").strip()

    def run(self, arguments):
        """Does it; the result is any JSON."""
        raise NotImplementedError


class Filter:
    """Sees every result before the agent does (`type: filter`)."""

    def apply(self, message):
        """`{"tool": ..., "result": ...}` as it shall go on."""
        raise NotImplementedError
