from agent.plugins import Tool


class Notes(Tool):
    """Reads a file with notes."""

    def run(self, arguments):
        with open(arguments["path"], encoding="utf-8") as opened:
            return opened.read()
