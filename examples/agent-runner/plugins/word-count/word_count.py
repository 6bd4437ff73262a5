from collections import Counter

from agent.plugins import Tool


class WordCount(Tool):
    """Counts the words of a text."""

    def __init__(self):
        self.calls = 0

    def run(self, arguments):
        self.calls += 1
        words = Counter(arguments["text"].lower().split())
        return {"words": sum(words.values()), "most": [word for word, _ in words.most_common(arguments.get("most", 3))]}
