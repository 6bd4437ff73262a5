import re

from agent.plugins import Filter

KEY = re.compile(r"\b(sk|key)-[A-Za-z0-9]{8,}")


class NoSecrets(Filter):
    def apply(self, message):
        return dict(message, result=self.hidden(message["result"]))

    def hidden(self, value):
        if isinstance(value, str):
            return KEY.sub("[hidden]", value)
        if isinstance(value, list):
            return [self.hidden(one) for one in value]
        if isinstance(value, dict):
            return {name: self.hidden(one) for name, one in value.items()}
        return value
